// A few numbers that a thread takes at once: 16 bytes in one access where the memory is aligned, else one
// number. Kernels are templates of the count, launchers choose it with is_aligned().
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/cuda_api.h"
#include "kernels/cuda/device/instructions.cuh"
#include "kernels/tensor.h"

namespace spqr::cuda {

template <int kCount>
struct Values {
  float v[kCount];
};

// f32 in memory. `from` and `to` are aligned to 16 bytes where kCount is a multiple of 4.
template <int kCount>
__device__ __forceinline__ Values<kCount> load_values(const float* from) {
  static_assert(kCount == 1 || kCount % 4 == 0);
  Values<kCount> values;
  if constexpr (kCount == 1) {
    values.v[0] = *from;
  } else {
#pragma unroll
    for (int i = 0; i < kCount; i += 4) {
      const float4 four = *reinterpret_cast<const float4*>(from + i);
      values.v[i] = four.x;
      values.v[i + 1] = four.y;
      values.v[i + 2] = four.z;
      values.v[i + 3] = four.w;
    }
  }
  return values;
}

template <int kCount>
__device__ __forceinline__ void store_values(float* to, const Values<kCount>& values) {
  static_assert(kCount == 1 || kCount % 4 == 0);
  if constexpr (kCount == 1) {
    *to = values.v[0];
  } else {
#pragma unroll
    for (int i = 0; i < kCount; i += 4) {
      *reinterpret_cast<float4*>(to + i) =
          make_float4(values.v[i], values.v[i + 1], values.v[i + 2], values.v[i + 3]);
    }
  }
}

// What numbers of a dense dtype lie in memory as, and how one is widened, which is exact.
template <DType kType>
struct Dense {
  using Stored = std::uint16_t;
  static constexpr int kWide = 8;  // in 16 bytes
  static __device__ __forceinline__ float widen(Stored stored) {
    if constexpr (kType == DType::bf16) {
      return __uint_as_float(static_cast<std::uint32_t>(stored) << 16U);
    } else {
      return f16_to_f32(stored);
    }
  }
  static __device__ __forceinline__ float widen_low(std::uint32_t pair) {
    return kType == DType::bf16 ? __uint_as_float(pair << 16U) : f16x2_low(pair);
  }
  static __device__ __forceinline__ float widen_high(std::uint32_t pair) {
    return kType == DType::bf16 ? __uint_as_float(pair & 0xFFFF0000U) : f16x2_high(pair);
  }
};
template <>
struct Dense<DType::f32> {
  using Stored = float;
  static constexpr int kWide = 4;
  static __device__ __forceinline__ float widen(Stored stored) { return stored; }
};

// The 16 bytes of Dense<kType>::kWide numbers, widened.
template <DType kType>
__device__ __forceinline__ Values<Dense<kType>::kWide> widen(const uint4& bytes) {
  const std::uint32_t words[4] = {bytes.x, bytes.y, bytes.z, bytes.w};
  Values<Dense<kType>::kWide> values;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if constexpr (kType == DType::f32) {
      values.v[i] = __uint_as_float(words[i]);
    } else {
      values.v[2 * i] = Dense<kType>::widen_low(words[i]);
      values.v[2 * i + 1] = Dense<kType>::widen_high(words[i]);
    }
  }
  return values;
}

// Host: whether rows of row_bytes that begin at `data` can be accessed 16 bytes at a time.
inline bool is_aligned(const void* data, std::size_t row_bytes = 0) {
  return (reinterpret_cast<std::uintptr_t>(data) | row_bytes) % 16 == 0;
}

}  // namespace spqr::cuda
