#include "kernels/quantize/group_statistics.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "kernels/half.h"
#include "kernels/quantize/second_level.h"

namespace spqr {

namespace {

// Keeps zero points within f16. The scale that gives it is still 2^-15 of the weights, finer than their own
// f16.
constexpr float kLargestZero = 32768.0F;
constexpr float kSmallestNormalF16 = 0x1p-14F;
constexpr float kLargestF16 = 65504.0F;
constexpr std::size_t kLargestBeta2 = 64;

// Integers that fit into the codes as they are: stored as offsets from the smallest.
bool offsets_fit(std::span<const float> values, int bits) {
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  return *high - *low <= largest_code(bits) && std::abs(*low) <= 2048.0F;
}

// Scales of one second-level group: stored where weights at either end of the range feel it least.
SecondLevel store_scales(const Statistics& tile, int bits, int scale_bits, std::span<std::uint8_t> codes) {
  std::array<float, kLargestBeta2> importance;
  for (std::size_t i = 0; i < codes.size(); ++i) {
    const float distance = std::max(std::abs(tile.zero[i]), std::abs(largest_code(bits) - tile.zero[i]));
    importance[i] = distance * distance;
  }
  const SecondLevel level = fit_second_level(tile.scale, scale_bits);
  encode_second_level(level, scale_bits, tile.scale, codes);
  const SecondLevel stored =
      round_second_level(level, codes, std::span(importance).first(codes.size()),
                         std::numeric_limits<float>::min(), std::numeric_limits<float>::max());
  decode_second_level(stored, codes, tile.stored_scale);
  return stored;
}

// Zero points of one second-level group, after its scales: what rounding changes in z, weights feel as s
// times that.
SecondLevel store_zeros(const Statistics& tile, int zero_bits, bool integers, std::span<std::uint8_t> codes) {
  std::array<float, kLargestBeta2> importance;
  for (std::size_t i = 0; i < codes.size(); ++i) importance[i] = tile.scale[i] * tile.scale[i];
  SecondLevel level = fit_second_level(tile.zero, zero_bits);
  if (integers && offsets_fit(tile.zero, zero_bits)) {
    level = {1.0F, -*std::min_element(tile.zero.begin(), tile.zero.end())};
  }
  encode_second_level(level, zero_bits, tile.zero, codes);
  const SecondLevel stored = round_second_level(level, codes, std::span(importance).first(codes.size()),
                                                kSmallestNormalF16, kLargestF16);
  decode_second_level(stored, codes, tile.stored_zero);
  return stored;
}

// Fits the second level to tile.scale and tile.zero, which become what the codes decode to.
void store_second_level(std::int64_t group, std::int64_t first_row, bool round_zero, SpqrParts& parts,
                        const Statistics& tile) {
  const SpqrFormat& format = parts.format;
  const std::int64_t row = group * parts.m + first_row;
  const std::int64_t index = group * format.tiles(parts.m) + first_row / format.beta2;
  const SecondLevel scales = store_scales(tile, format.bits, format.scale_bits,
                                          std::span(parts.scale_codes).subspan(row, tile.scale.size()));
  const SecondLevel zeros = store_zeros(tile, format.zero_bits, round_zero && format.zero_bits >= format.bits,
                                        std::span(parts.zero_codes).subspan(row, tile.zero.size()));
  parts.scale_scale[index] = scales.scale;
  parts.scale_zero[index] = scales.zero;
  parts.zero_scale[index] = zeros.scale;
  parts.zero_zero[index] = zeros.zero;
}

}  // namespace

ScaleAndZero fit_min_max(float low, float high, float largest) {
  if (low == 0.0F && high == 0.0F) return {0.0F, 0.5F * largest};
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
  const SpqrFormat& format = parts.format;
  if (!format.quantized_statistics()) {
    const std::int64_t offset = group * parts.m + first_row;
    for (std::int64_t i = 0; i < rows; ++i) {
      parts.scales[offset + i] = result.stored_scale[i] = round_to_11_bits(result.scale[i]);
      parts.zeros[offset + i] = result.stored_zero[i] = round_to_f16(result.zero[i]);
    }
    return;
  }
  for (std::int64_t begin = 0; begin < rows; begin += format.beta2) {
    const std::int64_t count = std::min<std::int64_t>(format.beta2, rows - begin);
    store_second_level(group, first_row + begin, round_zero, parts, result.rows(begin, count));
  }
}

}  // namespace spqr
