#include <atomic>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>

#include "kernels/cuda/emulation/block.h"
#include "kernels/cuda/emulation/emulation.h"
#include "kernels/cuda/emulation/memory.h"
#include "kernels/cuda/emulation/streams.h"
#include "kernels/threads.h"

namespace spqr::emulation {
namespace {

bool valid(const LaunchInfo& launch) {
  constexpr unsigned kMostBlocksX = 0x7FFFFFFF;
  constexpr unsigned kMostBlocksYz = 0xFFFF;
  constexpr unsigned kMostThreadsZ = 64;
  const dim3& grid = launch.grid;
  const dim3& block = launch.block;
  return grid.x - 1 < kMostBlocksX && grid.y - 1 < kMostBlocksYz && grid.z - 1 < kMostBlocksYz &&
         block.x - 1 < kMostThreads && block.y - 1 < kMostThreads && block.z - 1 < kMostThreadsZ &&
         block.x * block.y * block.z <= kMostThreads && launch.shared_bytes <= kSharedBytesOptIn;
}

// Kernels that are loaded: those that have been launched outside of records.
std::mutex loaded_mutex;
std::set<std::string> loaded;

bool may_launch(const LaunchInfo& launch) {
  const std::scoped_lock lock(loaded_mutex);
  if (!is_capturing(launch.stream)) loaded.insert(launch.name);
  return !strict() || loaded.contains(launch.name);
}

std::mutex last_mutex;
LaunchStatistics last_statistics;

// Of the threads that run blocks of one launch.
struct SharedStatistics {
  std::mutex mutex;
  LaunchStatistics total;

  void add(const LaunchStatistics& more) {
    const std::scoped_lock lock(mutex);
    total.shared_accesses += more.shared_accesses;
    total.bank_conflicts += more.bank_conflicts;
    total.global_accesses += more.global_accesses;
    total.global_sectors += more.global_sectors;
    total.global_bytes_useful += more.global_bytes_useful;
  }
};

void run(const LaunchInfo& launch, const std::function<void()>& kernel) {
  const std::int64_t blocks = static_cast<std::int64_t>(launch.grid.x) * launch.grid.y * launch.grid.z;
  static std::atomic<std::uint32_t> launches{0};
  const std::uint32_t number = ++launches;
  SharedStatistics statistics;
  parallel(blocks, [&](Indices& mine) {
    if (!mine.next()) return;
    Block& block = Block::of_this_thread();
    block.prepare(launch, number, kernel);
    do {
      block.run(mine.index());
    } while (mine.next());
    if (block.watch() != nullptr) statistics.add(block.watch()->statistics().take());
  });
  {
    const std::scoped_lock lock(last_mutex);
    last_statistics = statistics.total;
  }
  check_memory(std::string("kernel '") + launch.name + "': ");
}

}  // namespace

LaunchStatistics last_launch_statistics() {
  const std::scoped_lock lock(last_mutex);
  return last_statistics;
}

void forget_kernels() {
  const std::scoped_lock lock(loaded_mutex);
  loaded.clear();
}

cudaError_t launch(const LaunchInfo& info, std::function<void()> kernel) {
  if (current != nullptr) throw std::logic_error("a kernel launches a kernel");
  if (!valid(info)) return remember(cudaErrorInvalidConfiguration);
  if (!may_launch(info)) {
    const cudaError_t status = forbidden_while_capturing(cudaErrorStreamCaptureUnsupported);
    if (status != cudaSuccess) return status;
  }
  return enqueue(info.stream, [info, kernel = std::move(kernel)] {
    run(info, kernel);
    return cudaSuccess;
  });
}

}  // namespace spqr::emulation
