#include "kernels/quantize/second_level.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "kernels/half.h"
#include "kernels/quantize/group_statistics.h"

namespace spqr {

SecondLevel fit_second_level(std::span<const float> values, int bits) {
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  if (*low == *high) {
    if (*low == 0.0F) return {0.0F, 0.0F};
    return {std::abs(*low), *low < 0.0F ? 1.0F : 0.0F};
  }
  const ScaleAndZero fit = fit_min_max(*low, *high, largest_code(bits));
  return {fit.scale, fit.zero};
}

void encode_second_level(const SecondLevel& level, int bits, std::span<float> values,
                         std::span<std::uint8_t> codes) {
  const float largest = largest_code(bits);
  for (std::size_t i = 0; i < values.size(); ++i) {
    codes[i] = static_cast<std::uint8_t>(weight_code(values[i], level.scale, level.zero, largest));
  }
  decode_second_level(level, codes, values);
}

void decode_second_level(const SecondLevel& level, std::span<const std::uint8_t> codes,
                         std::span<float> values) {
  for (std::size_t i = 0; i < codes.size(); ++i) {
    values[i] = level.scale * (static_cast<float>(codes[i]) - level.zero);
  }
}

float round_to_11_bits(float value) {
  std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  bits += 0x0FFFU + ((bits >> 13) & 1U);
  return std::bit_cast<float>(bits & ~0x1FFFU);
}

SecondLevel round_second_level(const SecondLevel& level, std::span<const std::uint8_t> codes,
                               std::span<const float> importance, float smallest, float largest) {
  if (level.scale == 0.0F) return level;
  constexpr int kNeighbours = 16;
  constexpr std::uint32_t kUnitInLastPlace = 1U << 13;
  double moments[3] = {std::numeric_limits<double>::min(), 0.0, 0.0};  // of the codes, weighted
  for (std::size_t i = 0; i < codes.size(); ++i) {
    const double weight = importance[i];
    moments[0] += weight;
    moments[1] += weight * codes[i];
    moments[2] += weight * codes[i] * codes[i];
  }
  const double offset = static_cast<double>(level.scale) * level.zero;
  const std::uint32_t nearest = std::bit_cast<std::uint32_t>(round_to_11_bits(level.scale));
  SecondLevel best = {std::clamp(round_to_11_bits(level.scale), smallest, largest), round_to_f16(level.zero)};
  double least = std::numeric_limits<double>::infinity();
  for (int step = -kNeighbours; step <= kNeighbours; ++step) {
    const auto scale = std::bit_cast<float>(nearest + static_cast<std::uint32_t>(step) * kUnitInLastPlace);
    if (!(scale >= smallest && scale <= largest)) continue;
    const double slope_change = static_cast<double>(scale) - level.scale;
    const double ideal_offset = offset + slope_change * moments[1] / moments[0];
    const float zero = level.zero == 0.0F ? 0.0F : round_to_f16(static_cast<float>(ideal_offset / scale));
    const double offset_change = static_cast<double>(scale) * zero - offset;
    const double cost = slope_change * (slope_change * moments[2] - 2.0 * offset_change * moments[1]) +
                        offset_change * offset_change * moments[0];
    if (cost < least) {
      least = cost;
      best = {scale, zero};
    }
  }
  return best;
}

}  // namespace spqr
