#include "kernels/quantize/group_statistics.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "kernels/half.h"

namespace spqr {

namespace {

// Keeps zero points within f16. The scale that gives it is still 2^-15 of the weights, finer than their own
// f16.
constexpr float kLargestZero = 32768.0F;
constexpr float kSmallestNormalF16 = 0x1p-14F;
constexpr float kLargestShift = 0.05F;

float largest_code(int bits) {
  return static_cast<float>((1 << bits) - 1);
}

// What one second-level group stores.
struct SecondLevel {
  float scale;
  float zero;
};

// A value that all members share is stored exactly, as code 0 or 1 times its size.
SecondLevel constant_second_level(float value) {
  if (value == 0.0F) return {1.0F, 0.0F};
  return {std::abs(value), value < 0.0F ? 1.0F : 0.0F};
}

SecondLevel fit_second_level(std::span<const float> values, int bits) {
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  if (*low == *high) return constant_second_level(*low);
  const ScaleAndZero fit = fit_min_max(*low, *high, largest_code(bits));
  return {fit.scale, fit.zero};
}

// Integers that fit into the codes as they are: stored as offsets from the smallest.
bool offsets_fit(std::span<const float> values, int bits) {
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  return *high - *low <= largest_code(bits) && std::abs(*low) <= 2048.0F;
}

// Codes of values, which become what the codes decode to.
void apply_second_level(const SecondLevel& level, int bits, std::span<float> values, std::uint8_t* codes) {
  const float largest = largest_code(bits);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const float code = weight_code(values[i], level.scale, level.zero, largest);
    codes[i] = static_cast<std::uint8_t>(code);
    values[i] = level.scale * (code - level.zero);
  }
}

// What codes decode to.
void decode_second_level(const SecondLevel& level, std::span<const std::uint8_t> codes,
                         std::span<float> values) {
  for (std::size_t i = 0; i < codes.size(); ++i)
    values[i] = level.scale * (static_cast<float>(codes[i]) - level.zero);
}

SecondLevel stored_scale_level(const SecondLevel& level) {
  return {round_to_11_bits(level.scale), round_to_f16(level.zero)};
}

SecondLevel stored_zero_level(const SecondLevel& level) {
  return {std::max(round_to_f16(level.scale), kSmallestNormalF16), round_to_f16(level.zero)};
}

// Both levels of one tile: fits them to tile.scale and tile.zero, which become what the codes decode to.
void store_second_level(std::int64_t group, std::int64_t first_row, bool round_zero, SpqrParts& parts,
                        const Statistics& tile) {
  const SpqrFormat& format = parts.format;
  const std::int64_t row = group * parts.m + first_row;
  const std::int64_t index = group * format.tiles(parts.m) + first_row / format.beta2;
  const std::span scale_codes = std::span(parts.scale_codes).subspan(row, tile.scale.size());
  const std::span zero_codes = std::span(parts.zero_codes).subspan(row, tile.zero.size());

  const SecondLevel scale_level = fit_second_level(tile.scale, format.scale_bits);
  const SecondLevel stored_scale = stored_scale_level(scale_level);
  apply_second_level(scale_level, format.scale_bits, tile.scale, scale_codes.data());
  decode_second_level(stored_scale, scale_codes, tile.stored_scale);

  SecondLevel zero_level = fit_second_level(tile.zero, format.zero_bits);
  if (round_zero && format.zero_bits >= format.bits && offsets_fit(tile.zero, format.zero_bits)) {
    zero_level = {1.0F, -*std::min_element(tile.zero.begin(), tile.zero.end())};
  }
  const SecondLevel stored_zero = stored_zero_level(zero_level);
  apply_second_level(zero_level, format.zero_bits, tile.zero, zero_codes.data());
  decode_second_level(stored_zero, zero_codes, tile.stored_zero);

  parts.scale_scale[index] = stored_scale.scale;
  parts.scale_zero[index] = stored_scale.zero;
  parts.zero_scale[index] = stored_zero.scale;
  parts.zero_zero[index] = stored_zero.zero;
}

void store_row(std::int64_t index, SpqrParts& parts, const Statistics& row) {
  parts.scales[index] = row.stored_scale[0] = round_to_11_bits(row.scale[0]);
  parts.zeros[index] = row.stored_zero[0] = round_to_f16(row.zero[0]);
}

// Whether rounding the statistics moves a weight by more than kLargestShift steps.
bool shifts_weights(const Statistics& tile, int bits) {
  for (std::size_t i = 0; i < tile.scale.size(); ++i) {
    const float scale = tile.scale[i];
    const float at_zero = std::abs(tile.stored_scale[i] * tile.stored_zero[i] - scale * tile.zero[i]);
    const float over_codes = std::abs(tile.stored_scale[i] - scale) * largest_code(bits);
    if (at_zero + over_codes > kLargestShift * scale) return true;
  }
  return false;
}

}  // namespace

float round_to_11_bits(float value) {
  std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  bits += 0x0FFFU + ((bits >> 13) & 1U);
  return std::bit_cast<float>(bits & ~0x1FFFU);
}

ScaleAndZero fit_min_max(float low, float high, float largest) {
  if (low >= high) {
    low = -1.0F;
    high = 1.0F;
  }
  const float size = std::max(std::abs(low), std::abs(high));
  const float scale = std::max((high - low) / largest, size / kLargestZero);
  return {scale, -low / scale};
}

SpqrParts empty_parts(const SpqrFormat& format, std::int64_t m, std::int64_t n) {
  SpqrParts parts;
  parts.format = format;
  parts.m = m;
  parts.n = n;
  const std::int64_t groups = format.groups(n);
  const auto per_row = static_cast<std::size_t>(groups * m);
  const auto per_tile = static_cast<std::size_t>(groups * format.tiles(m));
  parts.codes.resize(static_cast<std::size_t>(m * n));
  if (format.quantized_statistics()) {
    parts.scale_codes.resize(per_row);
    parts.zero_codes.resize(per_row);
    for (auto* member : {&parts.scale_scale, &parts.scale_zero, &parts.zero_scale, &parts.zero_zero}) {
      member->resize(per_tile);
    }
  } else {
    parts.scales.resize(per_row);
    parts.zeros.resize(per_row);
  }
  return parts;
}

void fit_statistics(std::span<const float> low, std::span<const float> high, bool round_zero,
                    std::int64_t group, std::int64_t first_row, SpqrParts& parts, const Statistics& result) {
  const auto rows = static_cast<std::int64_t>(low.size());
  for (std::int64_t i = 0; i < rows; ++i) {
    const ScaleAndZero fit = fit_min_max(low[i], high[i], largest_code(parts.format.bits));
    result.scale[i] = fit.scale;
    result.zero[i] = round_zero ? std::nearbyint(fit.zero) : fit.zero;
  }
  const std::int64_t height = parts.format.quantized_statistics() ? parts.format.beta2 : 1;
  for (std::int64_t begin = 0; begin < rows; begin += height) {
    const Statistics tile = result.rows(begin, std::min(height, rows - begin));
    if (parts.format.quantized_statistics()) {
      store_second_level(group, first_row + begin, round_zero, parts, tile);
    } else {
      store_row(group * parts.m + first_row + begin, parts, tile);
    }
    if (shifts_weights(tile, parts.format.bits)) {
      std::copy(tile.stored_scale.begin(), tile.stored_scale.end(), tile.scale.begin());
      std::copy(tile.stored_zero.begin(), tile.stored_zero.end(), tile.zero.begin());
    }
  }
}

}  // namespace spqr
