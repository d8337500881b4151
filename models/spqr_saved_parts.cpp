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

// Rows of an array (lines, per_line), `each` neighbouring entries a block.
template <typename T>
std::vector<T> select(const std::vector<T>& array, std::int64_t per_line,
                      const std::vector<std::int64_t>& blocks, std::int64_t each) {
  std::vector<T> selected;
  for (std::size_t line = 0; line < array.size(); line += static_cast<std::size_t>(per_line)) {
    for (const std::int64_t block : blocks) {
      const auto first = array.begin() + static_cast<std::ptrdiff_t>(line) + block * each;
      selected.insert(selected.end(), first, first + each);
    }
  }
  return selected;
}

void select_outliers(const SpqrParts& parts, const std::vector<std::int64_t>& blocks, std::int64_t rows,
                     SpqrParts& selected) {
  if (parts.row_offsets.empty()) return;
  selected.row_offsets.push_back(0);
  for (const std::int64_t block : blocks) {
    for (std::int64_t row = block * rows; row < (block + 1) * rows; ++row) {
      const std::uint32_t begin = parts.row_offsets[static_cast<std::size_t>(row)];
      const std::uint32_t end = parts.row_offsets[static_cast<std::size_t>(row) + 1];
      selected.columns.insert(selected.columns.end(), parts.columns.begin() + begin,
                              parts.columns.begin() + end);
      selected.values.insert(selected.values.end(), parts.values.begin() + begin, parts.values.begin() + end);
      selected.row_offsets.push_back(static_cast<std::uint32_t>(selected.columns.size()));
    }
  }
  if (selected.columns.empty()) selected.row_offsets.clear();
}

}  // namespace

SpqrParts select_rows(const SpqrParts& parts, const std::vector<std::int64_t>& blocks, std::int64_t rows,
                      const std::string& where) {
  const SpqrFormat& format = parts.format;
  if (format.quantized_statistics() && rows % format.beta2 != 0)
    fail(where, fmt::format("{} rows of a head are no multiple of the {} that share statistics", rows,
                            format.beta2));
  SpqrParts selected;
  selected.format = format;
  selected.m = static_cast<std::int64_t>(blocks.size()) * rows;
  selected.n = parts.n;
  selected.perm = parts.perm;
  selected.codes = select(parts.codes, parts.m * parts.n, blocks, rows * parts.n);
  selected.scale_codes = select(parts.scale_codes, parts.m, blocks, rows);
  selected.zero_codes = select(parts.zero_codes, parts.m, blocks, rows);
  selected.scales = select(parts.scales, parts.m, blocks, rows);
  selected.zeros = select(parts.zeros, parts.m, blocks, rows);
  if (format.quantized_statistics()) {
    const std::int64_t tiles = format.tiles(parts.m);
    const std::int64_t each = rows / format.beta2;
    selected.scale_scale = select(parts.scale_scale, tiles, blocks, each);
    selected.scale_zero = select(parts.scale_zero, tiles, blocks, each);
    selected.zero_scale = select(parts.zero_scale, tiles, blocks, each);
    selected.zero_zero = select(parts.zero_zero, tiles, blocks, each);
  }
  select_outliers(parts, blocks, rows, selected);
  return selected;
}

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
