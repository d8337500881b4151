// Loads from the rows of a KV cache, whatever its type (kernels/cache_type.h): eight values of a row at a
// time, first as they are stored, so that a thread can have many loads under way, then widened to f32.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cache_type.h"
#include "kernels/cuda/cuda_api.h"
#include "kernels/cuda/device/instructions.cuh"

namespace spqr::cuda {

// Consecutive values that a thread loads together; the first has a multiple of it as its index.
inline constexpr int kLoadedValues = 8;

// Keys or values of a layer; position p of a kv head is row kv_head * capacity + p.
struct CacheView {
  const std::byte* data = nullptr;
  std::int64_t row_bytes = 0;
  CacheType type = CacheType::f16;
  int head_dim = 0;
  bool in_vectors = false;  // head_dim is a multiple of kLoadedValues, data 16-byte aligned: wide loads

  __device__ __forceinline__ const std::byte* row(std::int64_t index) const {
    return data + index * row_bytes;
  }
};

// in_vectors: the bytes of the row, codes of q8_0 in words 0 and 1, their scale in word 2. Else f32.
struct StoredValues {
  std::uint32_t words[kLoadedValues];
};

__device__ __forceinline__ const std::uint16_t* q8_0_block(const std::byte* row, int index) {
  constexpr int kBlockBytes = static_cast<int>(kCacheBlock) + 2;
  return reinterpret_cast<const std::uint16_t*>(row + index / static_cast<int>(kCacheBlock) * kBlockBytes);
}

__device__ __forceinline__ float load_one_value(CacheType type, const std::byte* row, int index) {
  if (type == CacheType::f32) return reinterpret_cast<const float*>(row)[index];
  if (type == CacheType::f16) return f16_to_f32(reinterpret_cast<const std::uint16_t*>(row)[index]);
  const std::uint16_t* block = q8_0_block(row, index);
  const auto* codes = reinterpret_cast<const signed char*>(block + 1);
  return f16_to_f32(*block) * static_cast<float>(codes[index % static_cast<int>(kCacheBlock)]);
}

__device__ __forceinline__ StoredValues load_vectors(CacheType type, const std::byte* row, int begin) {
  StoredValues stored = {};
  if (type == CacheType::q8_0) {
    // A block is 34 bytes: nothing wider than two of them is aligned.
    const std::uint16_t* block = q8_0_block(row, begin);
    const std::uint16_t* codes = block + 1 + begin % static_cast<int>(kCacheBlock) / 2;
    stored.words[0] = codes[0] | static_cast<std::uint32_t>(codes[1]) << 16U;
    stored.words[1] = codes[2] | static_cast<std::uint32_t>(codes[3]) << 16U;
    stored.words[2] = *block;
    return stored;
  }
  const std::byte* from = row + begin * (type == CacheType::f32 ? 4 : 2);
  const uint4 low = *reinterpret_cast<const uint4*>(from);
  stored.words[0] = low.x;
  stored.words[1] = low.y;
  stored.words[2] = low.z;
  stored.words[3] = low.w;
  if (type == CacheType::f32) {
    const uint4 high = reinterpret_cast<const uint4*>(from)[1];
    stored.words[4] = high.x;
    stored.words[5] = high.y;
    stored.words[6] = high.z;
    stored.words[7] = high.w;
  }
  return stored;
}

// Values begin .. begin + kLoadedValues of a row; zeros from head_dim on, and all of them where the row is
// not `wanted`: then it is not read.
__device__ __forceinline__ StoredValues load_stored(const CacheView& cache, const std::byte* row, int begin,
                                                    bool wanted) {
  if (!wanted || begin >= cache.head_dim) return StoredValues{};
  if (cache.in_vectors) return load_vectors(cache.type, row, begin);
  StoredValues stored = {};
#pragma unroll
  for (int i = 0; i < kLoadedValues; ++i) {
    if (begin + i < cache.head_dim)
      stored.words[i] = __float_as_uint(load_one_value(cache.type, row, begin + i));
  }
  return stored;
}

__device__ __forceinline__ void widen(const CacheView& cache, const StoredValues& stored,
                                      float (&values)[kLoadedValues]) {
  if (!cache.in_vectors || cache.type == CacheType::f32) {
#pragma unroll
    for (int i = 0; i < kLoadedValues; ++i) values[i] = __uint_as_float(stored.words[i]);
  } else if (cache.type == CacheType::f16) {
#pragma unroll
    for (int i = 0; i < kLoadedValues; i += 2) {
      values[i] = f16x2_low(stored.words[i / 2]);
      values[i + 1] = f16x2_high(stored.words[i / 2]);
    }
  } else {
    const float scale = f16_to_f32(static_cast<std::uint16_t>(stored.words[2]));
#pragma unroll
    for (int i = 0; i < kLoadedValues; ++i) {
      const auto code = static_cast<signed char>(stored.words[i / 4] >> (i % 4 * 8));
      values[i] = scale * static_cast<float>(code);
    }
  }
}

}  // namespace spqr::cuda
