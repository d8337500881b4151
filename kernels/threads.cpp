#include "kernels/threads.h"

#include <sched.h>

#include <algorithm>
#include <exception>
#include <fstream>
#include <memory>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace spqr {
namespace {

// About 20 microseconds: longer than what lies between the loops of a decode step.
constexpr int kSpins = 2000;

void pause() {
#if defined(__x86_64__)
  _mm_pause();
#else
  std::this_thread::yield();
#endif
}

thread_local int wanted_threads = 0;
thread_local int current_index = 0;
thread_local bool in_loop = false;

// Marks the calling thread as one of a loop's.
class InLoop {
 public:
  explicit InLoop(int index) {
    in_loop = true;
    current_index = index;
  }
  ~InLoop() {
    in_loop = false;
    current_index = 0;
  }
  InLoop(const InLoop&) = delete;
  InLoop& operator=(const InLoop&) = delete;
};

// The hardware threads that share a core with this one, as the system writes them; its own number where it
// does not.
std::string core_of(int processor) {
  std::ifstream in("/sys/devices/system/cpu/cpu" + std::to_string(processor) +
                   "/topology/thread_siblings_list");
  std::string siblings;
  return std::getline(in, siblings) ? siblings : std::to_string(processor);
}

int count_cores() {
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0)
    return static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  std::set<std::string> cores;
  for (int processor = 0; processor < CPU_SETSIZE; ++processor) {
    if (CPU_ISSET(processor, &allowed)) cores.insert(core_of(processor));
  }
  return std::max(1, static_cast<int>(cores.size()));
}

}  // namespace

int available_cores() {
  static const int cores = count_cores();
  return cores;
}

void set_threads(int threads) {
  wanted_threads = std::max(0, threads);
}

int threads() {
  return wanted_threads > 0 ? wanted_threads : available_cores();
}

int thread_index() {
  return current_index;
}

bool Indices::next() {
  if (parts_ == nullptr) return ++index_ < count_;
  for (; helped_ < count_ && !failed_->load(std::memory_order_relaxed); ++helped_) {
    Part& part = parts_[(own_ + helped_) % count_];
    // A look first: threads that find a part done do not write to its cache line.
    if (part.next.load(std::memory_order_relaxed) >= part.end) continue;
    index_ = part.next.fetch_add(1, std::memory_order_relaxed);
    if (index_ < part.end) return true;
  }
  return false;
}

// One loop at a time. `state_` says which one it is and whether threads may still join it, and counts those
// that are in it: joining and closing are one atomic change each, so that a thread that comes late touches
// nothing of a loop that is over.
class ThreadTeam {
 public:
  static ThreadTeam& instance() {
    static ThreadTeam team;
    return team;
  }

  ~ThreadTeam() { end_threads(0); }

  // With a team of `team` threads, the caller's included, of which the first `threads` take part. False where
  // another caller's loop is going on.
  bool run(std::int64_t count, int team, int threads, detail::Participant participant, const void* body) {
    const std::unique_lock lock(caller_, std::try_to_lock);
    if (!lock) return false;
    // Those of a larger team would wait for loops in the way of these.
    end_threads(team - 1);
    start_threads(team - 1);
    prepare(count, threads, participant, body);
    state_.store(((state_.load() / kLoop + 1) * kLoop) | kOpen);
    state_.notify_all();
    participate(0);
    state_.fetch_and(~kOpen);
    wait_until_alone();
    if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
    return true;
  }

 private:
  // The number of the loop, from bit 32 on; open to join; threads in it besides the caller.
  static constexpr std::uint64_t kLoop = std::uint64_t{1} << 32U;
  static constexpr std::uint64_t kOpen = std::uint64_t{1} << 31U;
  static constexpr std::uint64_t kInside = kOpen - 1;

  void start_threads(int wanted) {
    kept_ = wanted;
    while (static_cast<int>(threads_.size()) < wanted) {
      const int index = static_cast<int>(threads_.size()) + 1;
      try {
        threads_.emplace_back([this, index] { serve(index); });
      } catch (const std::system_error& error) {
        throw std::runtime_error("thread " + std::to_string(index + 1) + " of " + std::to_string(wanted + 1) +
                                 " cannot be started: " + error.what());
      }
    }
  }

  // All but the first `kept`.
  void end_threads(int kept) {
    if (static_cast<int>(threads_.size()) <= kept) return;
    kept_ = kept;
    state_.fetch_add(kLoop);
    state_.notify_all();
    for (; static_cast<int>(threads_.size()) > kept; threads_.pop_back()) threads_.back().join();
  }

  void prepare(std::int64_t count, int threads, detail::Participant participant, const void* body) {
    if (static_cast<int>(part_count_) < threads) parts_ = std::make_unique<Indices::Part[]>(threads);
    part_count_ = std::max(part_count_, threads);
    used_parts_ = threads;
    for (int i = 0; i < threads; ++i) {
      parts_[i].next.store(count * i / threads, std::memory_order_relaxed);
      parts_[i].end = count * (i + 1) / threads;
    }
    participant_ = participant;
    body_ = body;
    failed_ = false;
  }

  void participate(int index) {
    const InLoop in_loop(index);
    Indices mine(parts_.get(), used_parts_, index, &failed_);
    try {
      participant_(body_, mine);
    } catch (...) {
      const std::lock_guard lock(error_mutex_);
      if (!error_) error_ = std::current_exception();
      failed_ = true;
    }
  }

  void wait_until_alone() {
    for (int spin = 0; spin < kSpins; ++spin, pause()) {
      if ((state_.load() & kInside) == 0) return;
    }
    for (std::uint64_t state = state_.load(); (state & kInside) != 0; state = state_.load())
      state_.wait(state);
  }

  // What a thread of the team does all its life.
  void serve(int index) {
    std::uint64_t seen = 0;
    while (true) {
      std::uint64_t state = wait_for_change(seen);
      if (index > kept_) return;
      seen = state / kLoop;
      while ((state & kOpen) != 0 && state / kLoop == seen) {
        if (!state_.compare_exchange_weak(state, state + 1)) continue;
        if (index < used_parts_) participate(index);
        if ((state_.fetch_sub(1) & (kOpen | kInside)) == 1) state_.notify_all();
        break;
      }
    }
  }

  std::uint64_t wait_for_change(std::uint64_t seen) {
    for (int spin = 0; spin < kSpins; ++spin, pause()) {
      const std::uint64_t state = state_.load();
      if (state / kLoop != seen) return state;
    }
    while (true) {
      const std::uint64_t state = state_.load();
      if (state / kLoop != seen) return state;
      state_.wait(state);
    }
  }

  std::mutex caller_;
  std::vector<std::thread> threads_;
  alignas(64) std::atomic<std::uint64_t> state_{0};
  std::atomic<bool> failed_{false};
  std::atomic<int> kept_{0};  // threads besides the caller that are to go on
  std::unique_ptr<Indices::Part[]> parts_;
  int part_count_ = 0;
  int used_parts_ = 0;
  detail::Participant participant_ = nullptr;
  const void* body_ = nullptr;
  std::mutex error_mutex_;
  std::exception_ptr error_;
};

void detail::run_parallel(std::int64_t count, Participant participant, const void* body) {
  const auto wanted = static_cast<int>(std::min<std::int64_t>(threads(), count));
  if (wanted > 1 && !in_loop && ThreadTeam::instance().run(count, threads(), wanted, participant, body))
    return;
  Indices mine = Indices::all(count);
  participant(body, mine);
}

}  // namespace spqr
