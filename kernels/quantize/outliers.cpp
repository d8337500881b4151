#include "kernels/quantize/outliers.h"

#include <algorithm>
#include <array>
#include <limits>
#include <vector>

#include "kernels/quantize/group_statistics.h"

namespace spqr {

namespace {

constexpr std::int64_t kLanes = GroupView::kLanes;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

using Lanes = std::array<float, kLanes>;

Lanes filled(float value) {
  Lanes lanes;
  lanes.fill(value);
  return lanes;
}

// The two smallest and the two largest weights of each row (equal if the smallest or largest occurs twice).
struct Extremes {
  Lanes smallest = filled(kInfinity);
  Lanes second_smallest = filled(kInfinity);
  Lanes largest = filled(-kInfinity);
  Lanes second_largest = filled(-kInfinity);
};

Extremes find_extremes(const GroupView& group, std::int64_t row) {
  Extremes e;
  for (std::int64_t j = 0; j < group.columns; ++j) {
    const float* w = group.data + j * group.stride + row;
#pragma omp simd
    for (std::int64_t i = 0; i < kLanes; ++i) {
      e.second_smallest[i] = std::min(e.second_smallest[i], std::max(e.smallest[i], w[i]));
      e.smallest[i] = std::min(e.smallest[i], w[i]);
      e.second_largest[i] = std::max(e.second_largest[i], std::min(e.largest[i], w[i]));
      e.largest[i] = std::max(e.largest[i], w[i]);
    }
  }
  return e;
}

// Min-max fit of the rows, and the Hessian-weighted squared errors under it.
class Fit {
 public:
  Fit(const Lanes& low, const Lanes& high, float largest) : largest_code_(largest) {
#pragma omp simd
    for (std::int64_t i = 0; i < kLanes; ++i) {
      const ScaleAndZero fit = fit_min_max(low[i], high[i], largest);
      scale_[i] = fit.scale;
      zero_[i] = fit.zero;
    }
  }

  float squared_error(std::int64_t lane, float w, float inverse_variance) const {
    const float scale = scale_[lane];
    const float zero = zero_[lane];
    const float error = w - scale * (weight_code(w, scale, zero, largest_code_) - zero);
    return error * error * inverse_variance;
  }

 private:
  float largest_code_;
  Lanes scale_;
  Lanes zero_;
};

// What each row's error falls by when its smallest (largest) weight is left out.
struct Reductions {
  Lanes without_smallest;
  Lanes without_largest;
};

Reductions leave_out_extremes(const GroupView& group, std::span<const float> inverse_variance,
                              std::int64_t row, const Extremes& e, const Fit& base, float largest) {
  const Fit no_smallest(e.second_smallest, e.largest, largest);
  const Fit no_largest(e.smallest, e.second_largest, largest);
  Lanes base_sum = {};
  Lanes no_smallest_sum = {};
  Lanes no_largest_sum = {};
  for (std::int64_t j = 0; j < group.columns; ++j) {
    const float* w = group.data + j * group.stride + row;
    const float weight = inverse_variance[j];
#pragma omp simd
    for (std::int64_t i = 0; i < kLanes; ++i) {
      base_sum[i] += base.squared_error(i, w[i], weight);
      const float no_smallest_error = no_smallest.squared_error(i, w[i], weight);
      const float no_largest_error = no_largest.squared_error(i, w[i], weight);
      no_smallest_sum[i] += w[i] == e.smallest[i] ? 0.0F : no_smallest_error;
      no_largest_sum[i] += w[i] == e.largest[i] ? 0.0F : no_largest_error;
    }
  }
  Reductions reductions;
  for (std::int64_t i = 0; i < kLanes; ++i) {
    reductions.without_smallest[i] = base_sum[i] - no_smallest_sum[i];
    reductions.without_largest[i] = base_sum[i] - no_largest_sum[i];
  }
  return reductions;
}

void search_rows(const GroupView& group, std::span<const float> inverse_variance, float largest,
                 float threshold, std::int64_t row, float* low, float* high) {
  const Extremes e = find_extremes(group, row);
  const Fit base(e.smallest, e.largest, largest);
  const Reductions reductions = leave_out_extremes(group, inverse_variance, row, e, base, largest);
  Lanes kept_low = filled(kInfinity);
  Lanes kept_high = filled(-kInfinity);
  for (std::int64_t j = 0; j < group.columns; ++j) {
    const float* w = group.data + j * group.stride + row;
#pragma omp simd
    for (std::int64_t i = 0; i < kLanes; ++i) {
      const bool only_smallest = w[i] == e.smallest[i] && e.smallest[i] < e.second_smallest[i];
      const bool only_largest = w[i] == e.largest[i] && e.largest[i] > e.second_largest[i];
      const float own = base.squared_error(i, w[i], inverse_variance[j]);
      const float without_largest = reductions.without_largest[i];
      const float without_smallest = reductions.without_smallest[i];
      const float reduction = only_smallest ? without_smallest : only_largest ? without_largest : own;
      kept_low[i] = std::min(kept_low[i], reduction > threshold ? kInfinity : w[i]);
      kept_high[i] = std::max(kept_high[i], reduction > threshold ? -kInfinity : w[i]);
    }
  }
  for (std::int64_t i = 0; i < kLanes; ++i) {
    const bool constant = e.smallest[i] == e.largest[i];
    low[i] = constant ? e.smallest[i] : kept_low[i] < kept_high[i] ? kept_low[i] : -1.0F;
    high[i] = constant ? e.largest[i] : kept_low[i] < kept_high[i] ? kept_high[i] : 1.0F;
  }
}

}  // namespace

void weight_range(const GroupView& group, std::span<float> low, std::span<float> high) {
  for (std::int64_t i = 0; i < group.stride; ++i) low[i] = high[i] = group.data[i];
  for (std::int64_t j = 1; j < group.columns; ++j) {
    const float* w = group.data + j * group.stride;
    for (std::int64_t i = 0; i < group.stride; ++i) {
      low[i] = std::min(low[i], w[i]);
      high[i] = std::max(high[i], w[i]);
    }
  }
}

namespace {

// Whether a range's zero point lies further from the codes than they are wide, twice.
bool is_far(float low, float high) {
  constexpr float kFar = 2.0F;
  return std::max(low, -high) > kFar * (high - low);
}

bool is_of_nothing(float low, float high) {
  return low == -1.0F && high == 1.0F;
}

}  // namespace

bool is_wild_range(float low, float high) {
  return is_of_nothing(low, high) || is_far(low, high);
}

void tame_ranges(const GroupView& group, std::span<float> low, std::span<float> high) {
  std::vector<float> all_low(static_cast<std::size_t>(group.stride));
  std::vector<float> all_high(all_low.size());
  weight_range(group, all_low, all_high);
  for (std::size_t i = 0; i < low.size(); ++i) {
    if (is_of_nothing(low[i], high[i])) {
      low[i] = all_low[i];
      high[i] = all_high[i];
    }
    if (!is_far(low[i], high[i])) continue;
    low[i] = std::min(low[i], 0.0F);
    high[i] = std::max(high[i], 0.0F);
  }
}

void weight_range_without_outliers(const GroupView& group, std::span<const float> inverse_variance, int bits,
                                   float threshold, std::span<float> low, std::span<float> high) {
  const float largest = largest_code(bits);
  for (std::int64_t row = 0; row < group.stride; row += kLanes) {
    search_rows(group, inverse_variance, largest, threshold, row, &low[row], &high[row]);
  }
}

}  // namespace spqr
