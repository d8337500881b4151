// Sums and maxima over a warp and over a block, in an order that depends on nothing but the number of
// threads.
#pragma once

#include "kernels/cuda/cuda_api.h"
#include "kernels/cuda/gpu.h"

namespace spqr::cuda {

inline constexpr unsigned kWholeWarp = 0xFFFFFFFFU;

// Every lane gets the result.
__device__ __forceinline__ float warp_sum(float value) {
  for (int step = kWarpLanes / 2; step > 0; step /= 2) value += __shfl_xor_sync(kWholeWarp, value, step);
  return value;
}

__device__ __forceinline__ float warp_max(float value) {
  for (int step = kWarpLanes / 2; step > 0; step /= 2)
    value = fmaxf(value, __shfl_xor_sync(kWholeWarp, value, step));
  return value;
}

// Of a block of whole warps, at most 32; every thread gets the result. `shared`: 32 floats of shared memory,
// which may be used again after the next barrier.
__device__ __forceinline__ float block_sum(float value, float* shared) {
  const int warps = static_cast<int>(blockDim.x) / kWarpLanes;
  const int lane = static_cast<int>(threadIdx.x) % kWarpLanes;
  value = warp_sum(value);
  if (lane == 0) shared[threadIdx.x / kWarpLanes] = value;
  __syncthreads();
  return warp_sum(lane < warps ? shared[lane] : 0.0F);
}

}  // namespace spqr::cuda
