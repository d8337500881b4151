#include "kernels/threads.h"

#include <doctest/doctest.h>

#include <atomic>
#include <filesystem>
#include <iterator>
#include <numeric>
#include <stdexcept>
#include <thread>
#include <vector>

namespace spqr {
namespace {

TEST_CASE("parallel_for: every index once, whatever the threads") {
  for (const int count : {0, 1, 2, 3, 100, 5000}) {
    for (const int team : {1, 2, 3, 8}) {
      set_threads(team);
      std::vector<std::atomic<int>> seen(static_cast<std::size_t>(count));
      for (int round = 0; round < 20; ++round)
        parallel_for(count, [&](std::int64_t i) { ++seen[static_cast<std::size_t>(i)]; });
      for (const auto& times : seen) CHECK(times == 20);
    }
  }
  set_threads(0);
}

TEST_CASE("parallel: each thread has its own number and begins with a contiguous part") {
  set_threads(3);
  std::vector<int> users(3);
  for (int round = 0; round < 100; ++round) {
    parallel(300, [&](Indices& mine) {
      const auto thread = static_cast<std::size_t>(thread_index());
      REQUIRE(thread < 3);
      if (!mine.next()) return;
      if (mine.index() == static_cast<std::int64_t>(100 * thread)) ++users[thread];
      while (mine.next()) {
      }
    });
  }
  set_threads(0);
  CHECK(users[0] > 0);  // the others may have come late every time
  CHECK(thread_index() == 0);
}

TEST_CASE("parallel_for: an exception ends the loop and arrives at its caller") {
  set_threads(3);
  for (int round = 0; round < 50; ++round) {
    std::atomic<int> done{0};
    const auto body = [&](std::int64_t i) {
      if (i == 500) throw std::runtime_error("at 500");
      ++done;
    };
    CHECK_THROWS_WITH(parallel_for(100000, body), "at 500");
    CHECK(done < 100000);
  }
  int after = 0;
  parallel_for(1, [&](std::int64_t) { ++after; });
  CHECK(after == 1);
  set_threads(0);
}

TEST_CASE("parallel_for: loops inside of loops and those of several callers are done") {
  std::atomic<int> inner{0};
  set_threads(2);
  parallel_for(10, [&](std::int64_t) { parallel_for(10, [&](std::int64_t) { ++inner; }); });
  CHECK(inner == 100);
  std::atomic<int> both{0};
  const auto call = [&] {
    set_threads(2);
    for (int round = 0; round < 200; ++round) parallel_for(50, [&](std::int64_t) { ++both; });
  };
  std::thread other(call);
  call();
  other.join();
  CHECK(both == 2 * 200 * 50);
  set_threads(0);
}

TEST_CASE("threads that are not wanted any more end") {
  const auto count = [] {
    const std::filesystem::directory_iterator tasks("/proc/self/task");
    return std::distance(begin(tasks), end(tasks));
  };
  const auto nothing = [](std::int64_t) {};
  set_threads(2);
  parallel_for(8, nothing);
  const auto before = count();
  set_threads(6);
  parallel_for(8, nothing);
  CHECK(count() == before + 4);
  parallel_for(2, nothing);  // fewer take part, all stay
  CHECK(count() == before + 4);
  set_threads(2);
  parallel_for(8, nothing);
  CHECK(count() == before);
  set_threads(0);
}

TEST_CASE("threads: the calling thread's number, all cores by default") {
  CHECK(threads() == available_cores());
  CHECK(available_cores() >= 1);
  CHECK(available_cores() <= static_cast<int>(std::thread::hardware_concurrency()));
  set_threads(5);
  CHECK(threads() == 5);
  std::thread([] { CHECK(threads() == available_cores()); }).join();
  set_threads(0);
}

}  // namespace
}  // namespace spqr
