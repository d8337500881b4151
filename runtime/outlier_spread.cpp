#include "runtime/outlier_spread.h"

#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <variant>

namespace spqr {
namespace {

constexpr std::uint32_t kColumnMask = 0xFFFF;

struct Largest {
  std::int64_t index = 0;
  std::int64_t count = 0;
};

Largest largest(const std::vector<double>& counts) {
  const auto found = std::max_element(counts.begin(), counts.end());
  return {found - counts.begin(), static_cast<std::int64_t>(*found)};
}

OutlierSpread spread_of(const std::string& module, const SpqrMatrix& matrix,
                        std::span<const std::uint32_t> perm) {
  std::vector<double> rows(static_cast<std::size_t>(matrix.m));
  std::vector<double> columns(static_cast<std::size_t>(matrix.n));
  for (std::size_t i = 0; !matrix.row_offsets.empty() && i < rows.size(); ++i)
    rows[i] = matrix.row_offsets[i + 1] - matrix.row_offsets[i];
  for (const std::uint32_t entry : matrix.col_vals) {
    const std::uint32_t column = entry & kColumnMask;
    columns[perm.empty() ? column : perm[column]] += 1;
  }
  const Largest row = largest(rows);
  const Largest column = largest(columns);
  return {.module = module,
          .m = matrix.m,
          .n = matrix.n,
          .outliers = static_cast<std::int64_t>(matrix.col_vals.size()),
          .rows = densest_percent(rows),
          .columns = densest_percent(columns),
          .largest_row = row.index,
          .in_largest_row = row.count,
          .largest_column = column.index,
          .in_largest_column = column.count};
}

}  // namespace

std::vector<OutlierSpread> outlier_spread(const SpqrFile& file) {
  std::vector<OutlierSpread> spreads;
  for (const SpqrFileModule& module : file.modules()) {
    if (const auto* packed = std::get_if<SpqrMatrix>(&module.linear.weight))
      spreads.push_back(spread_of(module.name, *packed, file.perm(module.perm_name)));
  }
  return spreads;
}

nlohmann::json to_json(const std::vector<OutlierSpread>& spreads) {
  nlohmann::json array = nlohmann::json::array();
  for (const OutlierSpread& spread : spreads) {
    array.push_back(
        {{"module", spread.module},
         {"shape", {spread.m, spread.n}},
         {"outliers", spread.outliers},
         {"densest_rows", to_json(spread.rows)},
         {"densest_columns", to_json(spread.columns)},
         {"largest_row", {{"index", spread.largest_row}, {"outliers", spread.in_largest_row}}},
         {"largest_column", {{"index", spread.largest_column}, {"outliers", spread.in_largest_column}}}});
  }
  return {{"matrices", array}};
}

std::string to_text(const std::vector<OutlierSpread>& spreads) {
  if (spreads.empty()) return "no packed matrices\n";
  std::string text =
      fmt::format("{:<44} {:>14} {:>10} {:>9}  {:>12} {:>14} {:>16} {:>18}\n", "matrix", "shape", "outliers",
                  "share %", "1 % of rows", "1 % of columns", "in largest row", "in largest column");
  for (const OutlierSpread& s : spreads) {
    const double weights = static_cast<double>(s.m) * static_cast<double>(s.n);
    text += fmt::format("{:<44} {:>14} {:>10} {:>9.4f}  {:>10.2f} % {:>12.2f} % {:>16} {:>18}\n", s.module,
                        fmt::format("{} x {}", s.m, s.n), s.outliers,
                        100 * static_cast<double>(s.outliers) / weights, 100 * s.rows.share,
                        100 * s.columns.share, fmt::format("{} ({})", s.in_largest_row, s.largest_row),
                        fmt::format("{} ({})", s.in_largest_column, s.largest_column));
  }
  return text;
}

}  // namespace spqr
