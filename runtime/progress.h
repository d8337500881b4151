// How far a long work is and when it will be done, as text.
#pragma once

#include <chrono>
#include <optional>
#include <string>

namespace spqr {

// "1:02:03", "2:03"; "-" while it is not known.
std::string format_duration(std::optional<double> seconds);

class Progress {
 public:
  using Clock = std::chrono::steady_clock;
  explicit Progress(Clock::time_point start) : start_(start) {}

  // Work may begin in the middle (after a resume): what was done at the first call does not count for the
  // speed.
  void update(double done, double total, Clock::time_point now);
  double share() const { return share_; }
  std::optional<double> seconds_left() const { return seconds_left_; }

  // "[#####.....]  42 %  3:12 left  block 12", cut to `width` columns.
  std::string bar(const std::string& what, std::size_t width) const;

 private:
  Clock::time_point start_;
  std::optional<double> first_;
  double share_ = 0;
  std::optional<double> seconds_left_;
};

}  // namespace spqr
