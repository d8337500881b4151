#include "models/rope_factors.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>
#include <vector>

#include "models/config_members.h"

namespace spqr {
namespace {

// Factors are the same that differ by no more than this part of them: they were rounded to f32, and so are
// the terms whose difference is the smooth band's.
constexpr float kSame = 1e-4F;
constexpr float kLargestFactor = 1e6F;

// A factor is 1 for short wavelengths, F for long ones, and between them 1 / ((1 - s) / F + s) with
// s = (original / wavelength - low) / (high - low), a straight line over 1 / wavelength: s = slope /
// wavelength - offset, cut off at 0 and 1. F can be the largest factor there is: if it belongs to the band's
// end, the band may as well end there.
class Fit {
 public:
  Fit(std::span<const float> factors, const ModelConfig& model) : factors_(factors), model_(model) {
    model_.rope_scaling = {};
    frequencies_ = rope_inverse_frequency(model_);
    const float largest = *std::ranges::max_element(factors_);
    factor_ = std::abs(largest - std::round(largest)) < kSame * largest ? std::round(largest) : largest;
  }

  std::optional<RopeScaling> run() {
    // What models have: Llama 3.1 and later, and those made in their manner.
    for (std::int64_t original = 8192; original >= 1; original /= 2) {
      if (fits(1, 4, original)) return model_.rope_scaling;
    }
    sort_factors();
    if (band_.size() == 1) {
      const auto [x, s] = band_.front();
      if (fits(1, 4, std::llround((1 + 3 * s) / x))) return model_.rope_scaling;
    }
    const auto [slope, offset] = band_.empty() ? line_in_gap() : line_through_band();
    if (slope > 0 && offset > 0 && fits_line(slope, offset)) return model_.rope_scaling;
    return std::nullopt;
  }

 private:
  bool fits(double low, double high, std::int64_t original) {
    if (!(low > 0 && high > low) || original < 1 || original > kMaxPositions) return false;
    model_.rope_scaling = {RopeScaling::Type::llama3, factor_, low, high, original};
    const std::vector<float> scaled = rope_inverse_frequency(model_);
    for (std::size_t i = 0; i < factors_.size(); ++i) {
      if (!(std::abs(frequencies_[i] / scaled[i] / factors_[i] - 1) <= kSame)) return false;
    }
    return true;
  }

  // Only original / low and original / high matter: low is 1 where the first is a whole number.
  bool fits_line(double slope, double offset) {
    const double ratio = 1 + 1 / offset;  // high / low
    const double per_low = slope / offset;
    const std::int64_t original = std::llround(std::clamp(per_low, 1.0, static_cast<double>(kMaxPositions)));
    const double low = static_cast<double>(original) / per_low;
    return fits(1, std::round(ratio), original) || fits(1, ratio, original) ||
           fits(low, low * ratio, original);
  }

  // Tells those of the band from those before and behind it.
  void sort_factors() {
    for (std::size_t i = 0; i < factors_.size(); ++i) {
      const double x = static_cast<double>(frequencies_[i]) / (2 * std::numbers::pi);
      if (factors_[i] < 1 + kSame / 2) {
        kept_ = std::min(kept_.value_or(x), x);
      } else if (static_cast<double>(factors_[i]) > factor_ * (1 - kSame / 2)) {
        scaled_ = std::max(scaled_, x);
      } else {
        band_.emplace_back(x, (1 / static_cast<double>(factors_[i]) - 1 / factor_) / (1 - 1 / factor_));
      }
    }
  }

  using Line = std::pair<double, double>;  // slope, offset

  Line line_through_band() const {
    const auto [x0, s0] = band_.front();
    const auto [x1, s1] = band_.back();
    double slope = (s0 - s1) / (x0 - x1);
    if (band_.size() == 1) {
      // Steep enough to leave the band before it meets a factor on either side.
      slope = s0 / (x0 - scaled_);
      if (kept_) slope = std::max(slope, (1 - s0) / (*kept_ - x0));
    }
    return {slope, slope * x0 - s0};
  }

  // A band in which there is no factor: the middle third, in octaves, of where it can be.
  Line line_in_gap() const {
    const double end = kept_.value_or(8 * scaled_);
    const double third = std::cbrt(end / scaled_);
    const double from = scaled_ * third;
    const double to = from * third;
    return {1 / (to - from), from / (to - from)};
  }

  std::span<const float> factors_;
  ModelConfig model_;
  std::vector<float> frequencies_;
  double factor_ = 1;
  // As 1 / wavelength: the least of those whose factor is 1, the largest of those whose factor is F, and
  // those of the band with their s.
  std::optional<double> kept_;
  double scaled_ = 0;
  std::vector<std::pair<double, double>> band_;
};

}  // namespace

std::optional<RopeScaling> scaling_of_factors(std::span<const float> factors, const ModelConfig& model) {
  const auto sensible = [](float factor) { return factor > 1 - kSame && factor < kLargestFactor; };
  if (factors.empty() || !std::ranges::all_of(factors, sensible)) return std::nullopt;
  if (*std::ranges::max_element(factors) < 1 + kSame) return RopeScaling{};
  return Fit(factors, model).run();
}

}  // namespace spqr
