// Where the outliers of packed matrices lie: evenly, or in a few rows and columns.   arXiv 2306.03078, 3.1.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "models/spqr_file.h"
#include "runtime/densest.h"

namespace spqr {

struct OutlierSpread {
  std::string module;
  std::int64_t m = 0;
  std::int64_t n = 0;
  std::int64_t outliers = 0;
  Densest rows;
  Densest columns;
  std::int64_t largest_row = 0;     // the one with most outliers
  std::int64_t in_largest_row = 0;  // of them
  std::int64_t largest_column = 0;  // in the original order
  std::int64_t in_largest_column = 0;
};

// Of every packed matrix, in the file's order.
std::vector<OutlierSpread> outlier_spread(const SpqrFile& file);

nlohmann::json to_json(const std::vector<OutlierSpread>& spreads);
std::string to_text(const std::vector<OutlierSpread>& spreads);

}  // namespace spqr
