// Watches the memory accesses of kernels that were compiled for it: with -fsanitize=thread, whose calls
// arrive in watch_hooks.cpp. Reports what a device leaves undefined as Block::fail: races within a block,
// reads of shared memory that nobody has written or that a copy has yet to write, accesses outside of what is
// allocated, misaligned ones, and words of device memory that two blocks write. Counts what accesses cost.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "kernels/cuda/emulation/access_statistics.h"
#include "kernels/cuda/emulation/memory.h"
#include "kernels/cuda/emulation/thread.h"

namespace spqr::emulation {

class Block;

// Whether any code of this program was compiled to be watched.
bool watched();
void set_watched();

enum class Access : std::uint8_t { read, write, atomic };

// The calling thread of a kernel accesses memory; `site` is the same for the lanes that do so with one
// instruction. Does nothing where nothing is watched, and for memory of the host: there are locals.
void watch(Access access, const void* address, std::size_t bytes, const void* site);
// The thread begins a copy to shared memory that it has to wait for, and has waited for it.
void watch_copy_begins(const void* address, std::size_t bytes, const void* site);
void watch_copy_ends(const void* address, std::size_t bytes);

// Of one block.
class Watch {
 public:
  explicit Watch(Block& block) : block_(block) {}

  // number: of the launch, the same in all threads that run its blocks.
  void begin_launch(std::uint32_t number);
  void begin_block();
  void end_block();

  void access(Access access, std::uintptr_t address, std::size_t bytes, const void* site);
  void copy_begins(std::uintptr_t address, std::size_t bytes, const void* site);
  void copy_ends(std::uintptr_t address, std::size_t bytes);

  // Lanes of a warp have met; only __syncwarp orders what they do to memory.
  void lanes_met(unsigned warp, unsigned mask, bool orders_memory);
  void threads_met();

  AccessStatistics& statistics() { return statistics_; }

 private:
  static constexpr std::uint16_t kNobody = 0xFFFF;

  // When a thread has accessed a byte: between which barriers of the block, and between which of its warp.
  struct Moment {
    std::uint16_t thread = kNobody;
    std::uint32_t epoch = 0;
    std::uint32_t clock = 0;
  };
  struct SharedByte {
    // The last ones, of different threads: two where neither comes before the other, as of atomics.
    std::array<Moment, 2> writes;
    std::array<Moment, 2> reads;
    bool by_atomic = false;  // the writes
    bool copying = false;    // the writer has yet to wait for it
  };
  // The last writes of bytes of device memory. Reads are not kept: of threads that read what others
  // overwrite, some run after the others and are seen to read what these have written.
  static constexpr std::uintptr_t kPageBytes = 64;
  using WrittenPage = std::array<Moment, kPageBytes>;
  using Clocks = std::array<std::uint32_t, kLanes>;

  Moment now() const;
  bool before(const Moment& earlier) const;  // ordered before what the calling thread does now
  void shared_access(Access access, std::size_t offset, std::size_t bytes);
  void remember(std::array<Moment, 2>& kept, const Moment& moment);
  void device_access(Access access, std::uintptr_t address, std::size_t bytes);
  WrittenPage* written_page(std::uintptr_t number, bool make);
  template <typename At>
  void claim(std::uintptr_t address, std::size_t bytes, const At& at);
  [[noreturn]] void report(Access access, std::size_t bytes, const std::string& what);
  [[noreturn]] void report_race(Access access, std::size_t bytes, const std::string& at, const Moment& other,
                                const char* other_did);

  Block& block_;
  std::uintptr_t shared_ = 0;
  std::size_t shared_bytes_ = 0;
  std::vector<SharedByte> bytes_;
  std::unordered_map<std::uintptr_t, WrittenPage> written_;
  std::uint32_t epoch_ = 0;
  std::vector<Clocks> clocks_;  // of each thread: what it knows of each lane of its warp
  std::vector<Allocation> allocations_;
  std::size_t last_allocation_ = 0;
  std::uint32_t launch_ = 0;
  AccessStatistics statistics_;
};

}  // namespace spqr::emulation
