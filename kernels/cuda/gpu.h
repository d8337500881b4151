// What a launcher knows of the device, and where it queues its work.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/cuda_api.h"

namespace spqr::cuda {

inline constexpr int kWarpLanes = 32;

struct Gpu {
  cudaStream_t stream = nullptr;
  int multiprocessors = 1;
  int compute_capability = 0;    // 10 major + minor: 75, 80, ..., 120
  std::size_t shared_bytes = 0;  // that a block may have at most
  std::size_t cache_bytes = 0;   // of the L2 cache
  std::uint32_t* counters =
      nullptr;  // kCounters (scratch_sizes.h) in device memory, 0 whenever no kernel runs: who counts, resets
};

// Position of a call's first token in the sequence: *base + offset. `base` is in device memory, so that a
// recorded graph can be launched again for the next position; null: 0.
struct Position {
  const std::int32_t* base = nullptr;
  std::int64_t offset = 0;
};

}  // namespace spqr::cuda
