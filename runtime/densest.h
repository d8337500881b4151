// How unevenly a quantity is spread over the rows or the columns of a matrix.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>

namespace spqr {

// The hundredth of the rows (columns) that holds most, rounded up to whole ones.
struct Densest {
  std::int64_t count = 0;  // of them
  double share = 0;        // of the sum over all, that they hold; 0 where that is 0
};

// sums: one per row (column), none negative.
Densest densest_percent(std::span<const double> sums);

nlohmann::json to_json(const Densest& densest);
// "12 of 1152 rows hold 34.56 %"
std::string describe(const Densest& densest, std::size_t all, const std::string& what);

}  // namespace spqr
