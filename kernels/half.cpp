#include "kernels/half.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace spqr {

float f16_to_f32(std::uint16_t bits) {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000U) << 16;
  const std::uint32_t exponent = (bits >> 10) & 0x1fU;
  const std::uint32_t mantissa = bits & 0x3ffU;
  if (exponent == 0x1fU) return std::bit_cast<float>(sign | 0x7f800000U | (mantissa << 13));
  if (exponent != 0) return std::bit_cast<float>(sign | ((exponent + 112U) << 23) | (mantissa << 13));
  const float magnitude = static_cast<float>(mantissa) * 0x1p-24F;
  return sign != 0 ? -magnitude : magnitude;
}

std::uint16_t f32_to_f16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000U);
  const std::uint32_t magnitude = bits & 0x7fffffffU;
  if (magnitude > 0x7f800000U) return sign | 0x7e00U;   // NaN
  if (magnitude >= 0x477ff000U) return sign | 0x7c00U;  // rounds past 65504
  if (magnitude < 0x38800000U) {                        // below 2^-14: subnormal or zero
    // Adding 0.5 leaves the value, counted in units of 2^-24, in the low mantissa bits; the FPU rounds.
    const float shifted = std::bit_cast<float>(magnitude) + 0.5F;
    return sign | static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(shifted) - 0x3f000000U);
  }
  const std::uint32_t rounded = magnitude + 0xfffU + ((magnitude >> 13) & 1U);
  return sign | static_cast<std::uint16_t>((rounded - 0x38000000U) >> 13);
}

std::uint16_t f32_to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7fffffffU) > 0x7f800000U) return static_cast<std::uint16_t>((bits >> 16) | 0x40U);
  return static_cast<std::uint16_t>((bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16);
}

namespace {

// Each converts as many leading elements as it can in one go and returns their number.
#if defined(__x86_64__)
// Every CPU with AVX2 has F16C, whose own CPUID bit not all compilers can ask for.
bool has_f16c() {
  static const bool has = __builtin_cpu_supports("avx2") != 0;
  return has;
}

__attribute__((target("avx2,f16c"))) std::size_t widen_f16c(const std::uint16_t* in, float* out,
                                                            std::size_t count) {
  std::size_t i = 0;
  for (; i + 8 <= count; i += 8) {
    _mm256_storeu_ps(out + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(in + i))));
  }
  return i;
}

__attribute__((target("avx2,f16c"))) std::size_t narrow_f16c(const float* in, std::uint16_t* out,
                                                             std::size_t count) {
  std::size_t i = 0;
  for (; i + 8 <= count; i += 8) {
    const __m128i halves = _mm256_cvtps_ph(_mm256_loadu_ps(in + i), _MM_FROUND_TO_NEAREST_INT);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i), halves);
  }
  return i;
}
#else
bool has_f16c() {
  return false;
}
std::size_t widen_f16c(const std::uint16_t*, float*, std::size_t) {
  return 0;
}
std::size_t narrow_f16c(const float*, std::uint16_t*, std::size_t) {
  return 0;
}
#endif

}  // namespace

void f16_to_f32(const std::uint16_t* in, float* out, std::size_t count) {
  for (std::size_t i = has_f16c() ? widen_f16c(in, out, count) : 0; i < count; ++i)
    out[i] = f16_to_f32(in[i]);
}

void f32_to_f16(const float* in, std::uint16_t* out, std::size_t count) {
  for (std::size_t i = has_f16c() ? narrow_f16c(in, out, count) : 0; i < count; ++i)
    out[i] = f32_to_f16(in[i]);
}

void bf16_to_f32(const std::uint16_t* in, float* out, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) out[i] = bf16_to_f32(in[i]);
}

void f32_to_bf16(const float* in, std::uint16_t* out, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) out[i] = f32_to_bf16(in[i]);
}

}  // namespace spqr
