// The loops of vector_kernels.h, written once; each including file is compiled for its own instruction set
// and defines
//   f32v load_f16(const std::uint16_t* from);   kLanes values
//   i32v load_i8(const std::byte* from);        kLanes signed bytes
// Everything is in an anonymous namespace, so that no copy made for one instruction set is called from
// another.

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

#include "kernels/cache_type.h"
#include "kernels/cpu/panel_product.h"
#include "kernels/cpu/vector_kernels.h"
#include "kernels/cpu/vectors.h"
#include "kernels/half.h"

namespace spqr::cpu {
namespace {

inline f32v load_bf16(const std::uint16_t* from) {
  return widen_bf16(load<u16v>(from));
}

inline float sum_of(f32v lanes) {
  float values[kLanes];
  store(values, lanes);
  for (int half = kLanes / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) values[i] += values[i + half];
  }
  return values[0];
}

// Four vectors of sums hide the latency of an addition. `widen` and `widen_one` bring stored values to f32.
template <typename Stored, typename Widen, typename WidenOne>
inline float dot_of(const Stored* a, const float* b, std::int64_t n, Widen widen, WidenOne widen_one) {
  f32v sums[4] = {};
  std::int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    for (int k = 0; k < 4; ++k) sums[k] += widen(a + i + kLanes * k) * load<f32v>(b + i + kLanes * k);
  }
  for (; i + kLanes <= n; i += kLanes) sums[0] += widen(a + i) * load<f32v>(b + i);
  float sum = sum_of((sums[0] + sums[1]) + (sums[2] + sums[3]));
  for (; i < n; ++i) sum += widen_one(a[i]) * b[i];
  return sum;
}

std::uint32_t sum(const std::uint32_t* words, std::int64_t n) {
  constexpr std::int64_t kAhead = 1024;
  u32v sums[8] = {};
  for (std::int64_t i = 0; i < n; i += 8 * kLanes) {
    for (int k = 0; k < 8; ++k) sums[k] += load<u32v>(words + i + kLanes * k);
    for (int k = 0; k < 8 * kLanes; k += 16) __builtin_prefetch(words + i + kAhead + k);
  }
  std::uint32_t total = 0;
  for (int k = 0; k < 8; ++k) {
    for (int lane = 0; lane < kLanes; ++lane) total += sums[k][lane];
  }
  return total;
}

float dot(const float* a, const float* b, std::int64_t n) {
  return dot_of(
      a, b, n, [](const float* from) { return load<f32v>(from); }, [](float value) { return value; });
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

// Bytes: what is wanted next where keys and values are widened in turns. Asked for in between: all at once,
// before, costs a quarter of the speed.
constexpr std::int64_t kWidenAhead = 8192;

void widen_f16(const std::uint16_t* values, std::int64_t n, float* out) {
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    __builtin_prefetch(reinterpret_cast<const std::byte*>(values + i) + kWidenAhead);
    store(out + i, load_f16(values + i));
  }
  for (; i < n; ++i) out[i] = f16_to_f32(values[i]);
}

void widen_q8_0(const std::byte* rows, std::int64_t count, std::int64_t n, float* out) {
  const std::byte* block = rows;
  for (std::int64_t r = 0; r < count; ++r) {
    std::int64_t first = 0;
    for (; first + kCacheBlock <= n; first += kCacheBlock, out += kCacheBlock) {
      // Lanes beyond the scale are values of the block, and not looked at.
      const f32v scale = broadcast(load_f16(reinterpret_cast<const std::uint16_t*>(block))[0]);
      block += sizeof(std::uint16_t);
      __builtin_prefetch(block + kWidenAhead);
      for (int i = 0; i < kCacheBlock; i += kLanes)
        store(out + i, scale * __builtin_convertvector(load_i8(block + i), f32v));
      block += kCacheBlock;
    }
    if (first == n) continue;
    const float scale = f16_to_f32(load<std::uint16_t>(block));
    block += sizeof(std::uint16_t);
    for (std::int64_t i = first; i < n; ++i, ++block)
      *out++ = scale * static_cast<float>(std::to_integer<std::int8_t>(*block));
    block += n % 2;
  }
}

// Lanes of a and b that lie side by side, added: those of a first.
inline f32v add_pairs(f32v a, f32v b) {
#if SPQR_LANES == 16
  return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30) +
         __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
#else
  return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14) +
         __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15);
#endif
}

// Lane i: the sum of the lanes of vectors[i].
template <int kCount>
inline f32v sums_of(const f32v (&vectors)[kCount]) {
  if constexpr (kCount == 1) {
    return vectors[0];
  } else {
    f32v pairs[kCount / 2];
#pragma GCC unroll 8
    for (int i = 0; i < kCount / 2; ++i) pairs[i] = add_pairs(vectors[2 * i], vectors[2 * i + 1]);
    return sums_of(pairs);
  }
}

void dot_rows(const float* rows, std::int64_t count, const float* x, float* y, std::int64_t n) {
  std::int64_t r = 0;
  for (; r + kLanes <= count; r += kLanes, rows += kLanes * n) {
    f32v sums[kLanes] = {};
    std::int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
      const auto of_x = load<f32v>(x + i);
#pragma GCC unroll 16
      for (int k = 0; k < kLanes; ++k) sums[k] += load<f32v>(rows + k * n + i) * of_x;
    }
    store(y + r, sums_of(sums));
    for (; i < n; ++i) {
      for (int k = 0; k < kLanes; ++k) y[r + k] += rows[k * n + i] * x[i];
    }
  }
  for (; r < count; ++r, rows += n) y[r] = dot(rows, x, n);
}

// y (kVectors lanes) += weighted sum of the rows' columns there; the sums stay in registers.
template <int kVectors>
inline void add_columns(const float* weights, const float* rows, std::int64_t count, float* y,
                        std::int64_t n) {
  f32v sums[kVectors];
  for (int k = 0; k < kVectors; ++k) sums[k] = load<f32v>(y + kLanes * k);
  for (std::int64_t r = 0; r < count; ++r) {
    for (int k = 0; k < kVectors; ++k)
      sums[k] += broadcast(weights[r]) * load<f32v>(rows + r * n + kLanes * k);
  }
  for (int k = 0; k < kVectors; ++k) store(y + kLanes * k, sums[k]);
}

void add_rows(const float* weights, const float* rows, std::int64_t count, float* y, std::int64_t n) {
  std::int64_t i = 0;
  for (; i + 8 * kLanes <= n; i += 8 * kLanes) add_columns<8>(weights, rows + i, count, y + i, n);
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) add_columns<4>(weights, rows + i, count, y + i, n);
  for (; i + kLanes <= n; i += kLanes) add_columns<1>(weights, rows + i, count, y + i, n);
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

float scale_add_max(float a, const float* b, float* x, std::int64_t n) {
  float maximum = -INFINITY;
#pragma omp simd reduction(max : maximum)
  for (std::int64_t i = 0; i < n; ++i) {
    x[i] = a * x[i] + b[i];
    maximum = x[i] > maximum ? x[i] : maximum;
  }
  return maximum;
}

// exp(x) for -87 <= x <= 88, whose results are normal numbers, to 2 ulp: 2^k e^r with |r| <= ln 2 / 2 and the
// polynomial of degree 5 with the smallest relative error of those that are 1 at 0 (9.5e-8).
inline float exponential(float x) {
  // Adding 1.5 * 2^23 rounds to the nearest whole number and leaves it in the low mantissa bits.
  constexpr float kRound = 0x1.8p23F;
  const float shifted = x * 0x1.715476p0F + kRound;
  const float k = shifted - kRound;
  const float r = (x - k * 0x1.62e4p-1F) - k * 0x1.7f7d1cp-20F;
  float p = 0x1.0fa836p-7F;
  p = p * r + 0x1.573a56p-5F;
  p = p * r + 0x1.555a6ap-3F;
  p = p * r + 0x1.fffdc6p-2F;
  p = p * r + 0x1.fffff6p-1F;
  p = p * r + 1.0F;
  // k times 2^23; the rest of `shifted` falls out at the top.
  const std::uint32_t exponent = std::bit_cast<std::uint32_t>(shifted) << 23;
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(p) + exponent);
}

float exp_sum(float maximum, float* x, std::int64_t n) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = 0; i < n; ++i) {
    const float difference = x[i] - maximum;
    x[i] = exponential(difference < -87.0F ? -87.0F : difference);
    sum += x[i];
  }
  return sum;
}

void swiglu(float* h, const float* gate, const float* up, std::int64_t n) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) {
    const float g = gate[i];
    const float negated = g > 87.0F ? -87.0F : (g < -88.0F ? 88.0F : -g);
    h[i] = g / (1.0F + exponential(negated)) * up[i];
  }
}

// Phi(-a) for a >= 0, to 8 roundings of itself and what its exponential's argument is rounded by:
// exp(-a^2 / 2) times t p(t), t = 1 / (1 + 0.3 a), where p has the degree 7 and the smallest relative error
// of those for this 0.3 (1.2e-7). Stays at Phi(-13.1), 2e-39, for larger a.
inline float normal_tail(float a) {
  a = a < 13.1F ? a : 13.1F;
  const float t = 1.0F / (1.0F + 0.3F * a);
  float p = 0x1.27a3c2p-5F;
  p = p * t - 0x1.457f08p-3F;
  p = p * t + 0x1.acbdc6p-3F;
  p = p * t - 0x1.ce705ap-5F;
  p = p * t + 0x1.0a4e88p-3F;
  p = p * t + 0x1.9768aep-4F;
  p = p * t + 0x1.eee792p-4F;
  p = p * t + 0x1.e9fb6cp-4F;
  return p * t * exponential(-0.5F * a * a);
}

void gelu(float* h, const float* x, std::int64_t n) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) {
    const float value = x[i];
    const float tail = normal_tail(value < 0.0F ? -value : value);
    h[i] = value * (value < 0.0F ? tail : 1.0F - tail);
  }
}

void rms_norm(float* y, const float* x, const float* weight, float eps, std::int64_t n) {
  const float mean = dot(x, x, n) / static_cast<float>(n);
  const float factor = 1.0F / std::sqrt(mean + eps);
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) y[i] = x[i] * factor * weight[i];
}

void layer_norm(float* y, const float* x, const float* weight, const float* bias, float eps, std::int64_t n) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = 0; i < n; ++i) sum += x[i];
  const float mean = sum / static_cast<float>(n);
  float squares = 0;
#pragma omp simd reduction(+ : squares)
  for (std::int64_t i = 0; i < n; ++i) squares += (x[i] - mean) * (x[i] - mean);
  const float factor = 1.0F / std::sqrt(squares / static_cast<float>(n) + eps);
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) y[i] = (x[i] - mean) * factor * weight[i] + bias[i];
}

void multiply_panels(const PanelProduct& product) {
  multiply_all_panels(product, [](f32v sum, const float* a, f32v b) { return sum + broadcast(*a) * b; });
}

// 8 x 8 values: in[r][i] to out[i][r].
inline void transpose_8x8(const float* in, std::int64_t stride, float* out) {
  f32x8 v[8];
  f32x8 w[8];
  for (int r = 0; r < 8; ++r) v[r] = load<f32x8>(in + r * stride);
  for (int r = 0; r < 8; r += 2) {
    w[r] = __builtin_shufflevector(v[r], v[r + 1], 0, 8, 1, 9, 4, 12, 5, 13);
    w[r + 1] = __builtin_shufflevector(v[r], v[r + 1], 2, 10, 3, 11, 6, 14, 7, 15);
  }
  for (int r = 0; r < 8; r += 4) {
    v[r] = __builtin_shufflevector(w[r], w[r + 2], 0, 1, 8, 9, 4, 5, 12, 13);
    v[r + 1] = __builtin_shufflevector(w[r], w[r + 2], 2, 3, 10, 11, 6, 7, 14, 15);
    v[r + 2] = __builtin_shufflevector(w[r + 1], w[r + 3], 0, 1, 8, 9, 4, 5, 12, 13);
    v[r + 3] = __builtin_shufflevector(w[r + 1], w[r + 3], 2, 3, 10, 11, 6, 7, 14, 15);
  }
  for (int r = 0; r < 4; ++r) {
    store(out + r * kPanelCols, __builtin_shufflevector(v[r], v[r + 4], 0, 1, 2, 3, 8, 9, 10, 11));
    store(out + (r + 4) * kPanelCols, __builtin_shufflevector(v[r], v[r + 4], 4, 5, 6, 7, 12, 13, 14, 15));
  }
}

void transpose_panel(float* panel, const float* rows, std::int64_t depth, std::int64_t count) {
  std::int64_t k = 0;
  if (count == kPanelCols) {
    for (; k + 8 <= depth; k += 8) {
      transpose_8x8(rows + k, depth, panel + k * kPanelCols);
      transpose_8x8(rows + 8 * depth + k, depth, panel + k * kPanelCols + 8);
    }
  }
  for (; k < depth; ++k) {
    for (std::int64_t r = 0; r < kPanelCols; ++r)
      panel[k * kPanelCols + r] = r < count ? rows[r * depth + k] : 0.0F;
  }
}

}  // namespace
}  // namespace spqr::cpu
