#include "runtime/densest.h"

#include <fmt/core.h>

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>
#include <numeric>
#include <vector>

namespace spqr {

Densest densest_percent(std::span<const double> sums) {
  const std::size_t count = (sums.size() + 99) / 100;
  std::vector<double> sorted(sums.begin(), sums.end());
  const auto end = sorted.begin() + static_cast<std::ptrdiff_t>(count);
  std::partial_sort(sorted.begin(), end, sorted.end(), std::greater<>());
  const double total = std::accumulate(sorted.begin(), sorted.end(), 0.0);
  const double held = std::accumulate(sorted.begin(), end, 0.0);
  return {static_cast<std::int64_t>(count), total > 0 ? held / total : 0};
}

nlohmann::json to_json(const Densest& densest) {
  return {{"count", densest.count}, {"share", densest.share}};
}

std::string describe(const Densest& densest, std::size_t all, const std::string& what) {
  return fmt::format("{} of {} {} hold {:.2f} %", densest.count, all, what, 100 * densest.share);
}

}  // namespace spqr
