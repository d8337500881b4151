#include "models/spqr_saved_parts.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <tuple>

namespace spqr {
namespace {

[[noreturn]] void fail(const std::string& where, const std::string& what) {
  throw std::runtime_error(fmt::format("{}: {}", where, what));
}

}  // namespace

void set_outliers(SpqrParts& parts, std::vector<SavedOutlier> outliers, const std::string& where) {
  parts.row_offsets.clear();
  parts.columns.clear();
  parts.values.clear();
  if (outliers.empty()) return;
  if (parts.n > 65536)
    fail(where, fmt::format("rows of {} weights have outliers; columns have 16 bits", parts.n));
  std::ranges::sort(outliers, {}, [](const SavedOutlier& o) { return std::tuple(o.row, o.column); });
  parts.row_offsets.assign(static_cast<std::size_t>(parts.m) + 1, 0);
  const SavedOutlier* previous = nullptr;
  for (const SavedOutlier& outlier : outliers) {
    if (outlier.row < 0 || outlier.row >= parts.m || outlier.column < 0 || outlier.column >= parts.n)
      fail(where, fmt::format("an outlier in row {}, column {} of {} x {}", outlier.row, outlier.column,
                              parts.m, parts.n));
    if (previous != nullptr && previous->row == outlier.row && previous->column == outlier.column)
      fail(where, fmt::format("two outliers in row {}, column {}", outlier.row, outlier.column));
    if (!std::isfinite(outlier.value)) fail(where, "an outlier is not finite");
    ++parts.row_offsets[static_cast<std::size_t>(outlier.row) + 1];
    parts.columns.push_back(static_cast<std::uint16_t>(outlier.column));
    parts.values.push_back(outlier.value);
    previous = &outlier;
  }
  for (std::size_t row = 1; row < parts.row_offsets.size(); ++row)
    parts.row_offsets[row] += parts.row_offsets[row - 1];
}

void set_permutation(SpqrParts& parts, std::vector<std::uint32_t> perm, const std::string& where) {
  if (static_cast<std::int64_t>(perm.size()) != parts.n)
    fail(where, fmt::format("a permutation of {} columns, expected {}", perm.size(), parts.n));
  std::vector<bool> seen(perm.size());
  bool identity = true;
  for (std::size_t j = 0; j < perm.size(); ++j) {
    if (perm[j] >= perm.size() || seen[perm[j]]) fail(where, "the order of its columns is no permutation");
    seen[perm[j]] = true;
    identity = identity && perm[j] == j;
  }
  parts.perm = identity ? std::vector<std::uint32_t>() : std::move(perm);
}

void check_saved_parts(const SpqrParts& parts, const std::string& where) {
  const auto most = [](const std::vector<std::uint8_t>& codes) {
    std::uint8_t all = 0;
    for (const std::uint8_t code : codes) all |= code;
    return all;
  };
  const SpqrFormat& format = parts.format;
  if (most(parts.codes) >> format.bits != 0)
    fail(where, fmt::format("codes have more than {} bits", format.bits));
  if (format.quantized_statistics() &&
      (most(parts.scale_codes) >> format.scale_bits != 0 || most(parts.zero_codes) >> format.zero_bits != 0))
    fail(where, fmt::format("codes of statistics have more than {} and {} bits", format.scale_bits,
                            format.zero_bits));
  for (const auto* values : {&parts.scale_scale, &parts.scale_zero, &parts.zero_scale, &parts.zero_zero,
                             &parts.scales, &parts.zeros}) {
    if (!std::ranges::all_of(*values, [](float value) { return std::isfinite(value); }))
      fail(where, "holds statistics that are not finite");
  }
}

}  // namespace spqr
