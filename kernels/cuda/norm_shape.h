// How rms_norm and layer_norm divide vectors among threads.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/cuda/launch.h"

namespace spqr::cuda {

inline constexpr int kNormThreads = 1024;  // of a block, at most

// (threads of a vector, vectors of a block). Up to kWarpValues values have a warp, so that heads and other
// short vectors need no barrier; longer ones a block of as many threads as there are accesses, whole warps.
inline LaunchShape norm_shape(std::int64_t vectors, std::int64_t size, int wide) {
  constexpr std::int64_t kWarpValues = 256;
  constexpr std::int64_t kVectorsPerBlock = 4;
  if (size <= kWarpValues) {
    return {dim3(static_cast<unsigned>(ceil_div(vectors, kVectorsPerBlock))),
            dim3(kWarpLanes, static_cast<unsigned>(kVectorsPerBlock))};
  }
  const std::int64_t warps = ceil_div(ceil_div(size, wide), kWarpLanes);
  const auto threads = static_cast<unsigned>(std::min<std::int64_t>(kNormThreads, warps * kWarpLanes));
  // Two sums over the block: 32 floats each.
  return {dim3(static_cast<unsigned>(vectors)), dim3(threads), 2 * kWarpLanes * sizeof(float)};
}

}  // namespace spqr::cuda
