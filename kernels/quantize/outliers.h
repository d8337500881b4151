// Leave-one-out search for likely outliers of one column group, before its statistics are fitted.
// Source: arXiv 2306.03078, algorithm 1 (outliers).
#pragma once

#include <cstdint>
#include <span>

namespace spqr {

// A column group of a tile of rows, columns apart by `stride`: rows are the fast index, so that they are
// vector lanes.
struct GroupView {
  static constexpr std::int64_t kLanes = 16;
  const float* data;  // (columns, stride)
  std::int64_t columns;
  std::int64_t stride;  // rows, a multiple of kLanes
};

// low, high (stride): the range of each row's weights.
void weight_range(const GroupView& group, std::span<float> low, std::span<float> high);

// The same without likely outliers; [-1, 1] where fewer than two values are left. A weight is a likely
// outlier where leaving it out lowers sum((w - deq(w))^2 inverse_variance) over the group by more than
// `threshold`, deq being the min-max fit to what is left. inverse_variance (columns): 1 / d^2. Only leaving
// out a smallest or largest weight changes the fit: three fits a row do, whatever the size of the group.
void weight_range_without_outliers(const GroupView& group, std::span<const float> inverse_variance, int bits,
                                   float threshold, std::span<float> low, std::span<float> high);

// Whether a row's range (weight_range_without_outliers()) would coarsen a second level it is part of: narrow
// and far from 0 (a single value is both), or [-1, 1].
bool is_wild_range(float low, float high);
// Such ranges become ones that reach 0, or those of all weights.
void tame_ranges(const GroupView& group, std::span<float> low, std::span<float> high);

}  // namespace spqr
