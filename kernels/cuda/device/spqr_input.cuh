// Activations on their way into tensor cores: an f32 as two f16, which together hold 22 bits of it.
#pragma once

#include <cstdint>

#include "kernels/cuda/device/instructions.cuh"

namespace spqr::cuda {

// A power of two and its inverse, both normal.
struct PowerOfTwo {
  float value;
  float inverse;
};

// The power of two that brings `peak` to 2^13 .. 2^14, or as near as there is one. f16 then has room for sums
// of hi and lo, and keeps what is 2^-39 of the peak.
__device__ __forceinline__ PowerOfTwo scale_below_f16(float peak) {
  const int exponent = static_cast<int>(__float_as_uint(peak) >> 23U & 0xFFU);
  const auto biased = static_cast<std::uint32_t>(min(127 + 13 + 127 - exponent, 253));
  return {__uint_as_float(biased << 23U), __uint_as_float((254 - biased) << 23U)};
}

// hi + lo = x within 2^-22 |x| (and 2^-25).   A pair of columns, scaled.
struct SplitPair {
  std::uint32_t hi;
  std::uint32_t lo;
};

__device__ __forceinline__ SplitPair split(float x0, float x1) {
  const std::uint32_t hi = f32x2_to_f16x2(x0, x1);
  return {hi, f32x2_to_f16x2(x0 - f16x2_low(hi), x1 - f16x2_high(hi))};
}

}  // namespace spqr::cuda
