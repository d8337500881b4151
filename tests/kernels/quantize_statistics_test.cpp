// The shortcuts of the solvers against what they stand for: leave-one-out by leaving each one out, and the
// rounding of second-level statistics against plain rounding.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "kernels/half.h"
#include "kernels/quantize/group_statistics.h"
#include "kernels/quantize/outliers.h"
#include "kernels/quantize/second_level.h"

namespace spqr {

namespace {

// sum((w - deq(w))^2 inverse_variance) of weights without number `left_out`, under their own min-max fit.
double fitted_error(const std::vector<float>& w, const std::vector<float>& inverse_variance, int bits,
                    std::size_t left_out) {
  float low = std::numeric_limits<float>::infinity();
  float high = -low;
  for (std::size_t j = 0; j < w.size(); ++j) {
    if (j == left_out) continue;
    low = std::min(low, w[j]);
    high = std::max(high, w[j]);
  }
  if (low >= high) {
    low = -1.0F;
    high = 1.0F;
  }
  const double largest = (1 << bits) - 1;
  const double scale = (static_cast<double>(high) - low) / largest;
  double sum = 0.0;
  for (std::size_t j = 0; j < w.size(); ++j) {
    if (j == left_out) continue;
    const double code = std::clamp(std::nearbyint((w[j] - static_cast<double>(low)) / scale), 0.0, largest);
    const double error = w[j] - (low + scale * code);
    sum += error * error * inverse_variance[j];
  }
  return sum;
}

struct Range {
  float low;
  float high;
};

Range range_by_leaving_out_each(const std::vector<float>& w, const std::vector<float>& inverse_variance,
                                int bits, double threshold) {
  const double baseline = fitted_error(w, inverse_variance, bits, w.size());
  Range range = {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()};
  for (std::size_t j = 0; j < w.size(); ++j) {
    if (baseline - fitted_error(w, inverse_variance, bits, j) > threshold) continue;
    range.low = std::min(range.low, w[j]);
    range.high = std::max(range.high, w[j]);
  }
  return range.low < range.high ? range : Range{-1.0F, 1.0F};
}

}  // namespace

TEST_CASE("three fits a row find what leaving out each weight finds") {
  constexpr std::int64_t rows = 2 * GroupView::kLanes;
  std::mt19937 generator(1);
  std::normal_distribution<float> normal;
  std::int64_t shrunk = 0;
  for (const std::int64_t columns : {2, 3, 8, 16, 37, 128}) {
    for (const int bits : {2, 3, 4}) {
      std::vector<float> data(static_cast<std::size_t>(columns * rows));
      for (float& x : data) x = normal(generator);
      for (std::int64_t i = 0; i < rows; i += 2) data[i % columns * rows + i] *= 6.0F;
      for (std::int64_t j = 0; j < columns; j += 2) data[j * rows + 3] = data[3];  // one weight many times
      std::vector<float> inverse_variance(static_cast<std::size_t>(columns));
      for (float& x : inverse_variance) x = std::exp(normal(generator));
      std::vector<float> low(rows);
      std::vector<float> high(rows);
      // No reduction is this exact value, so f32 and f64 agree on which side they are.
      const double threshold = 0.31234567;
      weight_range_without_outliers({data.data(), columns, rows}, inverse_variance, bits,
                                    static_cast<float>(threshold), low, high);
      for (std::int64_t i = 0; i < rows; ++i) {
        std::vector<float> w(static_cast<std::size_t>(columns));
        for (std::int64_t j = 0; j < columns; ++j) w[j] = data[j * rows + i];
        const auto [smallest, largest] = std::minmax_element(w.begin(), w.end());
        if (*smallest == *largest) continue;
        const Range expected = range_by_leaving_out_each(w, inverse_variance, bits, threshold);
        CAPTURE(columns);
        CAPTURE(bits);
        CAPTURE(i);
        CHECK(low[i] == expected.low);
        CHECK(high[i] == expected.high);
        if (low[i] > *smallest || high[i] < *largest) ++shrunk;
      }
    }
  }
  CHECK(shrunk > 100);
}

TEST_CASE("a lone weight, a constant group and a zero group") {
  std::vector<float> low(GroupView::kLanes);
  std::vector<float> high(GroupView::kLanes);
  const std::vector<float> lone(GroupView::kLanes, 3.0F);
  weight_range_without_outliers({lone.data(), 1, GroupView::kLanes}, std::vector<float>{1.0F}, 3, 0.1F, low,
                                high);
  CHECK(low[0] == 3.0F);
  CHECK(high[0] == 3.0F);
  CHECK(fit_min_max(3.0F, 3.0F, 7.0F).scale == doctest::Approx(2.0 / 7.0));
  CHECK(fit_min_max(3.0F, 3.0F, 7.0F).zero == doctest::Approx(3.5));
  CHECK(fit_min_max(0.0F, 0.0F, 7.0F).scale == 0.0F);
}

TEST_CASE("codes round half to even and stay in range") {
  CHECK(weight_code(0.5F, 1.0F, 0.0F, 7.0F) == 0.0F);
  CHECK(weight_code(1.5F, 1.0F, 0.0F, 7.0F) == 2.0F);
  CHECK(weight_code(2.5F, 1.0F, 0.0F, 7.0F) == 2.0F);
  CHECK(weight_code(-3.0F, 1.0F, 0.0F, 7.0F) == 0.0F);
  CHECK(weight_code(1e30F, 1.0F, 0.0F, 7.0F) == 7.0F);
  CHECK(weight_code(0.0F, 0.0F, 2.0F, 7.0F) == 2.0F);
}

TEST_CASE("second-level statistics are rounded to what is stored, and moved less than by plain rounding") {
  std::mt19937 generator(2);
  std::normal_distribution<float> normal;
  double ours_sum = 0.0;
  double plain_sum = 0.0;
  for (int trial = 0; trial < 200; ++trial) {
    std::vector<float> values(16);
    const float offset = 50.0F * normal(generator);
    for (float& x : values) x = offset + normal(generator);
    std::vector<std::uint8_t> codes(16);
    const SecondLevel level = fit_second_level(values, 3);
    encode_second_level(level, 3, values, codes);
    const std::vector<float> importance(16, 1.0F);
    const SecondLevel stored = round_second_level(level, codes, importance, 0x1p-14F, 65504.0F);
    CHECK(round_to_f16(stored.scale) == stored.scale);
    CHECK(round_to_f16(stored.zero) == stored.zero);
    const SecondLevel plain = {round_to_f16(level.scale), round_to_f16(level.zero)};
    for (const auto& [rounded, sum] : {std::pair{stored, &ours_sum}, std::pair{plain, &plain_sum}}) {
      std::vector<float> decoded(16);
      decode_second_level(rounded, codes, decoded);
      for (std::size_t i = 0; i < 16; ++i) *sum += std::pow(static_cast<double>(decoded[i]) - values[i], 2);
    }
  }
  CHECK(ours_sum < 0.1 * plain_sum);
}

TEST_CASE("a value that all scales share is stored to 11 bits, a zero exactly") {
  for (const float value : {0.0F, 0.3F, -2.0F, 1e-12F}) {
    const std::vector<float> values(8, value);
    const SecondLevel level = fit_second_level(values, 3);
    CHECK(level.scale * ((value > 0.0F ? 1.0F : 0.0F) - level.zero) == value);
  }
  CHECK(round_to_11_bits(1.0F + 0x1p-12F) == 1.0F);
  CHECK(round_to_11_bits(1.0F + 0x1.8p-11F) == 1.0F + 0x1p-10F);
  CHECK(round_to_11_bits(0x1.ffffp-40F) == 0x1p-39F);
}

}  // namespace spqr
