// The threads that share the work of a loop. They belong to the process, are started when they are first
// wanted, wait for the next loop for some microseconds and then sleep: a machine that others use too is not
// kept busy by waiting, and a thread that it does not run holds nobody up before it has begun.
//   parallel_for(count, [&](std::int64_t i) { ... });
//   parallel(count, [&](Indices& mine) { Scratch scratch; while (mine.next()) work(mine.index(), scratch);
//   });
// Each thread begins with a contiguous part of the indices and then helps the others. Loops inside of loops,
// and those of a second caller at the same time, are done by their caller alone. An exception ends the loop,
// and the first one leaves it through the caller.
#pragma once

#include <atomic>
#include <cstdint>

namespace spqr {

// Cores that this process may run on; hardware threads of one core count once.
int available_cores();

// Threads that the calling thread's loops are shared among; 0: available_cores(), which it is at first.
void set_threads(int threads);
int threads();

// The calling thread's number in the loop that it works on: 0 .. threads() - 1, and 0 outside of loops.
int thread_index();

// The indices a thread of a loop is to work on, one after the other.
class Indices {
 public:
  // 0 .. count - 1, for a thread that is alone.
  static Indices all(std::int64_t count) { return {nullptr, count, 0, nullptr}; }
  bool next();
  std::int64_t index() const { return index_; }

 private:
  friend class ThreadTeam;
  // What is left of a part, on a cache line of its own.
  struct alignas(64) Part {
    std::atomic<std::int64_t> next{0};
    std::int64_t end = 0;
  };
  Indices(Part* parts, std::int64_t count, std::int64_t own, const std::atomic<bool>* failed)
      : parts_(parts), count_(count), own_(own), failed_(failed) {}

  Part* parts_;  // null: there is one part, of count_ indices
  std::int64_t count_;
  std::int64_t own_;
  std::int64_t helped_ = 0;  // parts that are done, the thread's own first
  std::int64_t index_ = -1;
  const std::atomic<bool>* failed_;
};

namespace detail {
using Participant = void (*)(const void* body, Indices& mine);
void run_parallel(std::int64_t count, Participant participant, const void* body);
}  // namespace detail

// body(Indices&) on each thread that gets to it.
template <typename Body>
void parallel(std::int64_t count, const Body& body) {
  detail::run_parallel(
      count, [](const void* of, Indices& mine) { (*static_cast<const Body*>(of))(mine); }, &body);
}

// body(i) for i in 0 .. count - 1; `worth`: more work than waking threads is.
template <typename Body>
void parallel_for(std::int64_t count, const Body& body, bool worth = true) {
  if (!worth) {
    for (std::int64_t i = 0; i < count; ++i) body(i);
    return;
  }
  parallel(count, [&](Indices& mine) {
    while (mine.next()) body(mine.index());
  });
}

}  // namespace spqr
