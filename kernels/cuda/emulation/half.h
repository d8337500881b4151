// Conversions of f16 as a device does them: to the nearest even, NaN to the one canonical NaN.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace spqr::emulation {

// The bits of a half, moved to where f32 has them, are the number times 2^-112: also of subnormal ones.
inline float f16_to_f32(std::uint16_t bits) {
  const std::uint32_t sign = (bits & 0x8000U) << 16U;
  const std::uint32_t magnitude = (bits & 0x7FFFU) << 13U;
  constexpr std::uint32_t kInfinity = 0x7C00U << 13U;
  const float scaled = std::bit_cast<float>(magnitude) * 0x1p112F;
  const std::uint32_t special = magnitude == kInfinity ? 0x7F800000U : 0x7FFFFFFFU;
  return std::bit_cast<float>((magnitude >= kInfinity ? special : std::bit_cast<std::uint32_t>(scaled)) |
                              sign);
}

// Of a number that f16 has, or that is beyond its largest.
inline std::uint16_t exact_f16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = bits >> 16U & 0x8000U;
  if (value != value) return 0x7FFFU;
  const float magnitude = std::fabs(value);
  if (magnitude > 65504.0F) return static_cast<std::uint16_t>(sign | 0x7C00U);
  return static_cast<std::uint16_t>(sign | std::bit_cast<std::uint32_t>(magnitude * 0x1p-112F) >> 13U);
}

// Adding and subtracting 1.5 * 2^52 times the distance of neighbouring halves rounds to one of them.
inline std::uint16_t f64_to_f16(double value) {
  const auto bits = std::bit_cast<std::uint64_t>(value);
  constexpr std::uint64_t kExponent = 0x7FFULL << 52U;
  constexpr std::uint64_t kSmallestNormal = (1023ULL - 14) << 52U;
  constexpr std::uint64_t kBeyond = (1023ULL + 16) << 52U;
  std::uint64_t exponent = bits & kExponent;
  if (exponent >= kBeyond) return exact_f16(static_cast<float>(value));
  exponent = exponent < kSmallestNormal ? kSmallestNormal : exponent;
  const double rounder = std::bit_cast<double>(exponent + (42ULL << 52U)) * 1.5;
  const auto rounded = static_cast<float>((value + rounder) - rounder);
  return exact_f16(std::signbit(value) ? -std::fabs(rounded) : std::fabs(rounded));
}
inline std::uint16_t f32_to_f16(float value) {
  return f64_to_f16(value);
}

}  // namespace spqr::emulation
