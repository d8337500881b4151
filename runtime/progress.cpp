#include "runtime/progress.h"

#include <fmt/core.h>

#include <algorithm>

namespace spqr {

std::string format_duration(std::optional<double> seconds) {
  if (!seconds) return "-";
  const auto total = static_cast<long>(*seconds + 0.5);
  const long hours = total / 3600;
  const long minutes = total / 60 % 60;
  if (hours > 0) return fmt::format("{}:{:02}:{:02}", hours, minutes, total % 60);
  return fmt::format("{}:{:02}", minutes, total % 60);
}

void Progress::update(double done, double total, Clock::time_point now) {
  share_ = total > 0 ? std::clamp(done / total, 0.0, 1.0) : 0;
  if (!first_) {
    first_ = done;
    start_ = now;
    return;
  }
  const double seconds = std::chrono::duration<double>(now - start_).count();
  const double progressed = done - *first_;
  if (progressed > 0) seconds_left_ = std::max(0.0, total - done) * seconds / progressed;
}

std::string Progress::bar(const std::string& what, std::size_t width) const {
  constexpr int kCells = 24;
  const int full = static_cast<int>(share_ * kCells);
  std::string line =
      fmt::format("[{}{}] {:3.0f} %  {} left  {}", std::string(static_cast<std::size_t>(full), '#'),
                  std::string(static_cast<std::size_t>(kCells - full), '.'), 100 * share_,
                  format_duration(seconds_left_), what);
  if (line.size() > width) line.resize(width);
  return line;
}

}  // namespace spqr
