#include "runtime/threshold_search.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace spqr {
namespace {

constexpr double kNoOutliers = 1e30;  // a threshold that no weight passes
constexpr double kSlope = -1.5;       // of the logarithms, where nothing is known yet
constexpr double kLongestStep = 2.0;
constexpr int kMostTries = 16;

}  // namespace

ThresholdSearch::ThresholdSearch(double target, double without_outliers, double first_guess)
    : target_(target), base_(without_outliers), next_(first_guess) {
  if (target < base_ * (1 - kTolerance)) {
    throw std::invalid_argument(
        fmt::format("{:.3f} bits per weight cannot be reached: without outliers this format takes {:.3f}",
                    target, base_));
  }
  if (target > base_ + 32) {
    throw std::invalid_argument(fmt::format(
        "{:.3f} bits per weight cannot be reached: with nothing but outliers this format takes {:.3f}",
        target, base_ + 32));
  }
  if (target <= base_ * (1 + kTolerance)) next_ = kNoOutliers;
}

bool ThresholdSearch::add(double bits) {
  if (tries_++ == 0 || std::abs(bits - target_) < std::abs(best_bits_ - target_)) {
    best_ = next_;
    best_bits_ = bits;
  }
  if (std::abs(best_bits_ - target_) <= kTolerance * target_ || tries_ >= kMostTries || next_ >= kNoOutliers)
    return true;
  const double wanted = std::log(target_ - base_);
  const std::pair<double, double> point{std::log(next_), std::log(std::max(bits - base_, 1e-9))};
  (bits > target_ ? more_ : fewer_) = point;
  double step = (wanted - point.second) / kSlope;
  double log_next = point.first + std::clamp(step, -kLongestStep, kLongestStep);
  if (more_ && fewer_) {
    // Between the two, by a straight line, but never so near to one that the other end stays for ever.
    const double width = fewer_->first - more_->first;
    if (width < 1e-9) return true;
    const double share = (wanted - more_->second) / (fewer_->second - more_->second);
    log_next = more_->first + std::clamp(share, 0.05, 0.95) * width;
  }
  next_ = std::exp(log_next);
  return false;
}

void ThresholdSearch::settle(double bits) {
  best_ = next_;
  best_bits_ = bits;
}

double corrected_threshold(double threshold, double bits, double base, double target) {
  const double ratio = std::max(bits - base, 1e-4) / std::max(target - base, 1e-4);
  return threshold * std::exp(std::clamp(std::log(ratio) / -kSlope, -kLongestStep, kLongestStep));
}

}  // namespace spqr
