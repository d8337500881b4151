// Conversions between f32 and the two 16-bit floating-point formats, round to nearest even.
//   f16: IEEE 754-2008 binary16 (subnormals, infinities and NaN included)      bf16: upper half of binary32
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace spqr {

float f16_to_f32(std::uint16_t bits);
std::uint16_t f32_to_f16(float value);

inline float bf16_to_f32(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}
std::uint16_t f32_to_bf16(float value);

// The nearest f16, as f32.
inline float round_to_f16(float value) {
  return f16_to_f32(f32_to_f16(value));
}

// in (count) -> out (count), which do not overlap. Values are those of the functions above, except that a NaN
// may carry another payload; with the CPU's own conversion instructions where it has them.
void f16_to_f32(const std::uint16_t* in, float* out, std::size_t count);
void f32_to_f16(const float* in, std::uint16_t* out, std::size_t count);
void bf16_to_f32(const std::uint16_t* in, float* out, std::size_t count);
void f32_to_bf16(const float* in, std::uint16_t* out, std::size_t count);

}  // namespace spqr
