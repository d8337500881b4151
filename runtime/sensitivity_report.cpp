// A sensitivity map as text and as JSON.
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string_view>

#include "runtime/densest.h"
#include "runtime/sensitivity.h"

namespace spqr {
namespace {

enum class HeadAxis : std::uint8_t { none, rows, columns };

HeadAxis head_axis(std::string_view module) {
  for (const std::string_view end : {".q_proj", ".k_proj", ".v_proj"}) {
    if (module.ends_with(end)) return HeadAxis::rows;
  }
  for (const std::string_view end : {"self_attn.o_proj", "self_attention.dense"}) {
    if (module.ends_with(end)) return HeadAxis::columns;
  }
  return HeadAxis::none;
}

// Four digits are more than a picture shows.
double rounded(double value) {
  return std::strtod(fmt::format("{:.4g}", value).c_str(), nullptr);
}

nlohmann::json rounded(std::span<const double> values) {
  nlohmann::json array = nlohmann::json::array();
  for (const double value : values) array.push_back(rounded(value));
  return array;
}

}  // namespace

std::vector<double> sensitivity_by_head(const SensitivityMap& map, const std::string& module,
                                        const ModelConfig& config) {
  const HeadAxis axis = head_axis(module);
  const std::vector<double>& sums = axis == HeadAxis::rows ? map.row_sums : map.column_sums;
  const auto width = static_cast<std::size_t>(config.head_dim);
  const double total = map.total();
  if (axis == HeadAxis::none || width == 0 || sums.size() % width != 0) return {};
  std::vector<double> shares(sums.size() / width);
  for (std::size_t i = 0; i < sums.size(); ++i) shares[i / width] += total > 0 ? sums[i] / total : 0;
  return shares;
}

nlohmann::json to_json(const SensitivityMap& map, const std::string& module, const ModelConfig& config) {
  nlohmann::json cells = nlohmann::json::array();
  for (std::int64_t a = 0; a < map.rows; ++a) {
    const float* row = map.cells.data() + a * map.columns;
    cells.push_back(rounded(std::vector<double>(row, row + map.columns)));
  }
  return {{"module", module},
          {"shape", {map.m, map.n}},
          {"total", map.total()},
          {"densest_rows", to_json(densest_percent(map.row_sums))},
          {"densest_columns", to_json(densest_percent(map.column_sums))},
          {"heads", sensitivity_by_head(map, module, config)},
          {"heads_along", head_axis(module) == HeadAxis::columns ? "columns" : "rows"},
          {"row_sums", rounded(map.row_sums)},
          {"column_sums", rounded(map.column_sums)},
          {"map", cells}};
}

std::string to_text(const SensitivityMap& map, const std::string& module, const ModelConfig& config) {
  std::string text =
      fmt::format("{}, {} x {}: sensitivity {:.4g} in all\n", module, map.m, map.n, map.total());
  text += describe(densest_percent(map.row_sums), map.row_sums.size(), "rows") + " of it\n";
  text += describe(densest_percent(map.column_sums), map.column_sums.size(), "columns") + " of it\n";
  const std::vector<double> heads = sensitivity_by_head(map, module, config);
  if (heads.empty()) return text;
  text += fmt::format("by head ({} {} each; {:.2f} % would be even):\n", config.head_dim,
                      head_axis(module) == HeadAxis::rows ? "rows" : "columns",
                      100.0 / static_cast<double>(heads.size()));
  for (std::size_t h = 0; h < heads.size(); ++h) text += fmt::format("{:>6} {:7.2f} %\n", h, 100 * heads[h]);
  return text;
}

}  // namespace spqr
