// Scales and zero points: the min-max fit of weights, and how the file stores it.
// Arithmetic is f32 in the order of the reference implementation.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/spqr_format.h"

namespace spqr {

// Below this the reference implementation clamps a scale it divides by.
inline constexpr float kSmallestDivisor = 1e-9F;

inline float largest_code(int bits) {
  return static_cast<float>((1 << bits) - 1);
}

// Rounds to nearest even and clamps to [0, largest], in plain arithmetic that vectorises without SSE4.1.
inline float round_clamped(float x, float largest) {
  constexpr float kRounder = 12582912.0F;  // 1.5 * 2^23: its unit in the last place is 1
  const float at_least_zero = x > 0.0F ? x : 0.0F;
  const float clamped = at_least_zero < largest ? at_least_zero : largest;
  return (clamped + kRounder) - kRounder;
}

// The code of w, an integer in [0, largest], as f32.
inline float weight_code(float w, float scale, float zero, float largest) {
  const float divisor = scale > kSmallestDivisor ? scale : kSmallestDivisor;
  return round_clamped(w / divisor + zero, largest);
}

struct ScaleAndZero {
  float scale;
  float zero;
};

// Weights in [low, high] as codes in [0, largest]; low >= high: as if in [-1, 1]. All zero: a scale of 0,
// which decodes to 0 and does not widen the range of the scales beside it.
ScaleAndZero fit_min_max(float low, float high, float largest);

// Parts with all arrays of statistics and codes in place, zeros.
SpqrParts empty_parts(const SpqrFormat& format, std::int64_t m, std::int64_t n);

// First-level statistics of one group and some rows, (rows) each.
struct Statistics {
  std::span<float> scale;  // to choose codes with and to measure errors against: before rounding to 16 bits,
  std::span<float> zero;   // as in the reference implementation
  std::span<float> stored_scale;  // what a reader of the file decodes
  std::span<float> stored_zero;

  Statistics rows(std::int64_t first, std::int64_t count) const {
    const auto begin = static_cast<std::size_t>(first);
    const auto size = static_cast<std::size_t>(count);
    return {scale.subspan(begin, size), zero.subspan(begin, size), stored_scale.subspan(begin, size),
            stored_zero.subspan(begin, size)};
  }
};

// Fits statistics of group `group`, rows [first_row, first_row + low.size()), to weights in [low[i],
// high[i]], and stores them in `parts`. first_row is a multiple of beta2.
void fit_statistics(std::span<const float> low, std::span<const float> high, bool round_zero,
                    std::int64_t group, std::int64_t first_row, SpqrParts& parts, const Statistics& result);

}  // namespace spqr
