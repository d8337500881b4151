// The loops of vector_kernels.h, written once; each including file is compiled for its own instruction set
// and defines
//   f32x8 load_f16(const std::uint16_t* from);   8 values
// Everything is in an anonymous namespace, so that no copy made for one instruction set is called from
// another.

#include <bit>
#include <cmath>
#include <cstdint>

#include "kernels/cpu/spqr_vectors.h"
#include "kernels/cpu/vector_kernels.h"
#include "kernels/half.h"

namespace spqr::cpu {
namespace {

inline f32x8 load_bf16(const std::uint16_t* from) {
  return std::bit_cast<f32x8>(__builtin_convertvector(load<u16x8>(from), u32x8) << 16);
}

// Four sums of 8 lanes hide the latency of an addition. `widen` and `widen_one` bring stored values to f32.
template <typename Stored, typename Widen, typename WidenOne>
inline float dot_of(const Stored* a, const float* b, std::int64_t n, Widen widen, WidenOne widen_one) {
  f32x8 sums[4] = {};
  std::int64_t i = 0;
  for (; i + 32 <= n; i += 32) {
    for (int k = 0; k < 4; ++k) sums[k] += widen(a + i + 8 * k) * load<f32x8>(b + i + 8 * k);
  }
  for (; i + 8 <= n; i += 8) sums[0] += widen(a + i) * load<f32x8>(b + i);
  const f32x8 lanes = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  float sum =
      ((lanes[0] + lanes[4]) + (lanes[1] + lanes[5])) + ((lanes[2] + lanes[6]) + (lanes[3] + lanes[7]));
  for (; i < n; ++i) sum += widen_one(a[i]) * b[i];
  return sum;
}

float dot(const float* a, const float* b, std::int64_t n) {
  return dot_of(
      a, b, n, [](const float* from) { return load<f32x8>(from); }, [](float value) { return value; });
}

float dot_f16(const std::uint16_t* a, const float* b, std::int64_t n) {
  return dot_of(
      a, b, n, [](const std::uint16_t* from) { return load_f16(from); },
      [](std::uint16_t value) { return f16_to_f32(value); });
}

float dot_bf16(const std::uint16_t* a, const float* b, std::int64_t n) {
  return dot_of(
      a, b, n, [](const std::uint16_t* from) { return load_bf16(from); },
      [](std::uint16_t value) { return std::bit_cast<float>(static_cast<std::uint32_t>(value) << 16); });
}

void dot_rows(const float* rows, std::int64_t count, const float* x, float* y, std::int64_t n) {
  for (std::int64_t r = 0; r < count; ++r) y[r] = dot(rows + r * n, x, n);
}

// Columns are cut so that their sums stay in registers while the rows go by.
void add_rows(const float* weights, const float* rows, std::int64_t count, float* y, std::int64_t n) {
  std::int64_t i = 0;
  for (; i + 32 <= n; i += 32) {
    f32x8 sums[4];
    for (int k = 0; k < 4; ++k) sums[k] = load<f32x8>(y + i + 8 * k);
    for (std::int64_t r = 0; r < count; ++r) {
      for (int k = 0; k < 4; ++k) sums[k] += broadcast(weights[r]) * load<f32x8>(rows + r * n + i + 8 * k);
    }
    for (int k = 0; k < 4; ++k) store(y + i + 8 * k, sums[k]);
  }
  for (; i < n; ++i) {
    for (std::int64_t r = 0; r < count; ++r) y[i] += weights[r] * rows[r * n + i];
  }
}

void scale(float a, float* x, std::int64_t n) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) x[i] *= a;
}

float scale_max(float a, float* x, std::int64_t n) {
  float maximum = -INFINITY;
#pragma omp simd reduction(max : maximum)
  for (std::int64_t i = 0; i < n; ++i) {
    x[i] *= a;
    maximum = x[i] > maximum ? x[i] : maximum;
  }
  return maximum;
}

// exp(x) to a few ulp: 2^k e^r with |r| <= ln 2 / 2 and a polynomial of degree 6 for e^r (Taylor
// coefficients: its remainder r^7 / 5040 is below 2e-7). Inputs are clamped to the range whose results are
// normal numbers.
inline float exponential(float x) {
  x = x < -87.0F ? -87.0F : (x > 88.0F ? 88.0F : x);
  // Adding 1.5 * 2^23 rounds to the nearest whole number and leaves it in the low mantissa bits.
  constexpr float kRound = 0x1.8p23F;
  const float shifted = x * 0x1.715476p0F + kRound;
  const float k = shifted - kRound;
  const float r = (x - k * 0x1.62e4p-1F) - k * 0x1.7f7d1cp-20F;
  float p = 1.0F / 720.0F;
  p = p * r + 1.0F / 120.0F;
  p = p * r + 1.0F / 24.0F;
  p = p * r + 1.0F / 6.0F;
  p = p * r + 0.5F;
  p = p * r + 1.0F;
  p = p * r + 1.0F;
  const std::int32_t exponent = std::bit_cast<std::int32_t>(shifted) - std::bit_cast<std::int32_t>(kRound);
  return std::bit_cast<float>(std::bit_cast<std::int32_t>(p) + exponent * (1 << 23));
}

float exp_sum(float maximum, float* x, std::int64_t n) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = 0; i < n; ++i) {
    // A masked score is -infinity and weighs nothing.
    const float difference = x[i] - maximum;
    x[i] = difference < -87.0F ? 0.0F : exponential(difference);
    sum += x[i];
  }
  return sum;
}

void swiglu(float* h, const float* gate, const float* up, std::int64_t n) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) {
    const float g = gate[i];
    h[i] = g / (1.0F + exponential(-g)) * up[i];
  }
}

void rms_norm(float* y, const float* x, const float* weight, float eps, std::int64_t n) {
  const float mean = dot(x, x, n) / static_cast<float>(n);
  const float factor = 1.0F / std::sqrt(mean + eps);
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) y[i] = x[i] * factor * weight[i];
}

}  // namespace
}  // namespace spqr::cpu
