// Rows of a KV cache as a warp stores them: byte for byte what store_cache_row of kernels/cache_type.h
// stores, except for the payload of an f16 NaN.
#pragma once

#include <cstdint>

#include "kernels/cache_type.h"
#include "kernels/cuda/cuda_api.h"
#include "kernels/cuda/device/instructions.cuh"
#include "kernels/cuda/device/reduce.cuh"

namespace spqr::cuda {

// The largest of the lanes' sizes; a NaN is larger than all, since so are its bits.
__device__ __forceinline__ float warp_largest_size(float value) {
  std::uint32_t bits = __float_as_uint(fabsf(value));
  for (int step = kWarpLanes / 2; step > 0; step /= 2)
    bits = max(bits, __shfl_xor_sync(kWholeWarp, bits, step));
  return __uint_as_float(bits);
}

// A block of q8_0: this lane's value, where `lane` < count. `block` is aligned to 2 bytes.
__device__ __forceinline__ void store_q8_block(float value, int count, std::uint8_t* block, int lane) {
  constexpr float kLargest = 127;
  constexpr std::uint16_t kNan = 0x7E00;
  const float largest = warp_largest_size(lane < count ? value : 0.0F) / kLargest;
  // Codes are of the scale as it is stored.
  const std::uint16_t stored = largest == largest ? f32_to_f16(largest) : kNan;
  const float scale = f16_to_f32(stored);
  if (lane == 0) *reinterpret_cast<std::uint16_t*>(block) = stored;
  if (lane < count) {
    const float code = scale == 0 ? 0.0F : rintf(value / scale);
    const bool is_number = code >= -kLargest && code <= kLargest;
    const float byte = is_number ? code : code > 0 ? kLargest : -kLargest;
    block[sizeof stored + lane] = static_cast<std::uint8_t>(static_cast<std::int8_t>(byte));
  }
}

// values (head_dim) f32 -> row, by the 32 lanes of a warp together. Rows of f32 are aligned to 4 bytes,
// others to 2.
__device__ __forceinline__ void store_cache_row(CacheType type, const float* values, int head_dim,
                                                std::byte* row, int lane) {
  if (type == CacheType::f32) {
    for (int i = lane; i < head_dim; i += kWarpLanes) reinterpret_cast<float*>(row)[i] = values[i];
  } else if (type == CacheType::f16) {
    for (int i = lane; i < head_dim; i += kWarpLanes)
      reinterpret_cast<std::uint16_t*>(row)[i] = f32_to_f16(values[i]);
  } else {
    constexpr int kBlock = static_cast<int>(kCacheBlock);
    static_assert(kBlock == kWarpLanes, "a lane has one value of a block");
    auto* bytes = reinterpret_cast<std::uint8_t*>(row);
    for (int first = 0; first < head_dim; first += kBlock) {
      const int count = min(kBlock, head_dim - first);
      store_q8_block(lane < count ? values[first + lane] : 0.0F, count, bytes, lane);
      bytes += sizeof(std::uint16_t) + count;
    }
    if (head_dim % 2 != 0 && lane == 0) *bytes = 0;
  }
}

}  // namespace spqr::cuda
