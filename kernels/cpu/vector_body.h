// The loops of vector_kernels.h, written once; each including file is compiled for its own instruction set.
// Everything is in an anonymous namespace, so that no copy made for one instruction set is called from
// another.

#include <bit>
#include <cmath>
#include <cstdint>

#include "kernels/cpu/vector_kernels.h"

namespace spqr::cpu {
namespace {

float dot(const float* a, const float* b, std::int64_t n) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

void axpy(float a, const float* x, float* y, std::int64_t n) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) y[i] += a * x[i];
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
