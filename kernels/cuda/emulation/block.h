// Runs the threads of one block as fibers, on the calling thread of the operating system.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/cuda/emulation/emulation.h"
#include "kernels/cuda/emulation/stacks.h"
#include "kernels/cuda/emulation/thread.h"
#include "kernels/cuda/emulation/watch.h"

namespace spqr::emulation {

inline constexpr unsigned kMostThreads = 1024;                              // of a block
inline constexpr std::size_t kSharedBytesOptIn = (std::size_t{99} << 10U);  // a block may ask for
inline constexpr std::size_t kSharedBytesAlways = (std::size_t{48} << 10U);

// Lanes that have come to a collective and wait for the others.
struct Meeting {
  const Collective* what;
  unsigned mask;
  unsigned arrived;
  Place where;
};

// Every lane that exists is in exactly one of the sets unstarted, ready, at_barrier, ended, the one that
// runs, and `arrived` of the meetings.
struct Warp {
  unsigned exists = 0;
  unsigned unstarted = 0;
  unsigned ready = 0;  // has waited and can go on
  unsigned at_barrier = 0;
  unsigned ended = 0;
  int meeting_count = 0;
  std::array<Meeting, kLanes> meetings{};
  std::array<void*, kLanes> payloads{};
};

// Asynchronous copies of a thread that it has not waited for.
struct Copies {
  struct Copy {
    void* to;
    const void* from;
  };
  std::vector<Copy> copies;
  std::vector<std::size_t> groups;  // where each one that was committed ends in `copies`
};

class Block {
 public:
  // The one that belongs to the calling thread of the operating system.
  static Block& of_this_thread();

  Block();
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;
  ~Block();

  // To be called before run(); both arguments stay with the caller.
  void prepare(const LaunchInfo& launch, std::uint32_t number, const std::function<void()>& kernel);
  // The whole life of block number `index` of the grid, x fastest. Throws std::logic_error where a thread
  // does something wrong, and what a kernel throws.
  void run(std::int64_t index);

  // Called in kernels.
  void collective(const Collective& what, unsigned mask, void* payload, Place where);
  void barrier(Place where);
  [[noreturn]] void fail(const std::string& what);
  bool in_shared_buffer(std::uintptr_t address) const;
  std::byte* shared_memory() { return shared_.data() + shared_offset_; }

  Copies& copies_of_thread();

  const LaunchInfo& launch() const { return *launch_; }
  const Thread& thread(unsigned number) const { return threads_[number]; }
  unsigned thread_count() const { return thread_count_; }
  std::uint32_t number() const { return number_; }  // in the grid, x fastest
  Watch* watch() { return watch_.get(); }           // null where nothing is watched

 private:
  using Context = void*;  // a fiber that does not run

  static constexpr unsigned kNone = ~0U;
  friend struct FiberEntry;

  unsigned next_thread() const;  // one that can run, or kNone
  void start(unsigned number);   // gives it a fiber
  void select(unsigned number);  // the one that runs from now on
  void wait();                   // until another thread makes this one ready
  void run_threads();            // a fiber's life
  [[noreturn]] void leave();
  [[noreturn]] void report_deadlock();
  std::string what_does(unsigned number) const;
  void check_shared_memory() const;

  const LaunchInfo* launch_ = nullptr;
  const std::function<void()>* kernel_ = nullptr;
  std::uint32_t number_ = 0;
  unsigned thread_count_ = 0;
  unsigned warp_count_ = 0;
  unsigned current_warp_ = 0;
  unsigned ended_ = 0;
  unsigned at_barrier_ = 0;
  Place barrier_where_;
  std::vector<Thread> threads_;
  std::vector<Warp> warps_;

  Stacks stacks_;
  std::vector<Context> contexts_;      // of threads that wait
  std::vector<unsigned> stack_of_;     // of threads that have started
  std::vector<unsigned> free_stacks_;  // the last one is taken first
  Context outside_ = nullptr;          // whoever called run()
  Context left_behind_ = nullptr;      // a fiber that is not returned to

  std::vector<Copies> copies_;  // of threads; empty where a kernel has none
  std::vector<std::byte> shared_;
  std::size_t shared_offset_ = 0;
  std::exception_ptr failure_;
  std::unique_ptr<Watch> watch_;
};

// "(1, 0, 0)".
std::string to_string(const uint3& index);

}  // namespace spqr::emulation
