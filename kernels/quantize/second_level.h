// The second level: scales (or zero points) of a group of rows as codes, v = scale (code - zero).
#pragma once

#include <cstdint>
#include <span>

namespace spqr {

struct SecondLevel {
  float scale;
  float zero;
};

// Min-max fit, f32. A value that all share is stored exactly, as code 0 or 1 times its size.
SecondLevel fit_second_level(std::span<const float> values, int bits);

// Codes of values, which become what the codes decode to.
void encode_second_level(const SecondLevel& level, int bits, std::span<float> values,
                         std::span<std::uint8_t> codes);

void decode_second_level(const SecondLevel& level, std::span<const std::uint8_t> codes,
                         std::span<float> values);

// Nearest value with 11 significant bits: f16 of unlimited exponent.
float round_to_11_bits(float value);

// What is stored of `level`: the 11-bit scale and f16 zero, of those near it, that change
// sum(importance (change of the decoded value)^2) least. Where zero is large, plain rounding would move all
// values by many times the rounding of one. A zero of 0 stays: code 0 is exactly 0 then. importance (codes).
// smallest, largest: bounds of the scale.
SecondLevel round_second_level(const SecondLevel& level, std::span<const std::uint8_t> codes,
                               std::span<const float> importance, float smallest, float largest);

}  // namespace spqr
