// Running mean and spread.   Source: Welford, Technometrics 4 (1962).
#pragma once

#include <cmath>
#include <cstdint>

namespace spqr {

class Spread {
 public:
  void add(double value) {
    ++count_;
    const double delta = value - mean_;
    mean_ += delta / static_cast<double>(count_);
    squares_ += delta * (value - mean_);
  }
  double mean() const { return mean_; }
  // Standard error of the mean, of values that are independent.
  double error_of_mean() const {
    const auto count = static_cast<double>(count_);
    return count_ > 1 ? std::sqrt(squares_ / (count - 1) / count) : 0;
  }
  std::int64_t count() const { return count_; }

 private:
  std::int64_t count_ = 0;
  double mean_ = 0;
  double squares_ = 0;
};

}  // namespace spqr
