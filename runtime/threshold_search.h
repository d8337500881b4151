// Which outlier threshold gives a number of bits per weight.
#pragma once

#include <optional>
#include <utility>

namespace spqr {

// Root finding on a falling curve: bits above what the matrices take without outliers, as a function of the
// threshold, nearly straight in logarithms.
class ThresholdSearch {
 public:
  // Bits per weight asked for, those without outliers, the threshold to try first. Throws
  // std::invalid_argument where no threshold can give them.
  ThresholdSearch(double target, double without_outliers, double first_guess);

  double next() const { return next_; }  // threshold to try
  // Outcome of trying next(). True if it is near enough, or no better one can be found.
  bool add(double bits);
  // As if next() had been tried with this outcome and found good: known from an earlier run.
  void settle(double bits);
  double best() const { return best_; }  // threshold
  double best_bits() const { return best_bits_; }
  double target() const { return target_; }

  static constexpr double kTolerance = 0.0015;  // of the target, at which the search is content
  static constexpr double kPromised = 0.005;    // of the target, what a user may expect

 private:
  double target_;
  double base_;
  double next_;
  double best_ = 0;
  double best_bits_ = 0;
  int tries_ = 0;
  // (log threshold, log outlier bits) with more and with fewer outliers than asked for.
  std::optional<std::pair<double, double>> more_;
  std::optional<std::pair<double, double>> fewer_;
};

// The threshold at which what took `bits` with `threshold` would have taken `target`, by the usual slope;
// `base`: without outliers.
double corrected_threshold(double threshold, double bits, double base, double target);

}  // namespace spqr
