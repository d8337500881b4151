#include "runtime/sensitivity.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <optional>
#include <stdexcept>

#include "kernels/half.h"
#include "kernels/quantize/group_statistics.h"
#include "kernels/threads.h"
#include "models/spqr_container.h"

namespace spqr {
namespace {

constexpr const char* kCells = ".sensitivity";
constexpr const char* kRowSums = ".sensitivity_rows";
constexpr const char* kColumnSums = ".sensitivity_columns";
constexpr float kLargestF16 = 65504.0F;

std::int64_t cells_of(std::int64_t extent) {
  return std::min(extent, SensitivityMap::kMostCells);
}

// First row (column) of cell `a` of `cells`.
std::int64_t cell_begin(std::int64_t a, std::int64_t cells, std::int64_t extent) {
  return a * extent / cells;
}

// 1 / (2 [H^-1]_jj) in the stored order; 0 where no input ever was. H^-1 = U^T U.
std::vector<double> column_weights(const Hessian& hessian) {
  const std::int64_t n = hessian.n;
  std::vector<double> diagonal(static_cast<std::size_t>(n));
  for (std::int64_t i = 0; i < n; ++i) {
    const float* row = hessian.inverse_factor.data() + i * n;
    for (std::int64_t j = i; j < n; ++j)
      diagonal[j] += static_cast<double>(row[j]) * static_cast<double>(row[j]);
  }
  for (std::int64_t j = 0; j < n; ++j) diagonal[j] = hessian.dead[j] != 0 ? 0 : 1 / (2 * diagonal[j]);
  return diagonal;
}

ScaleAndZero statistics_of(const SpqrParts& parts, std::int64_t row, std::int64_t group) {
  const std::int64_t at = group * parts.m + row;
  if (!parts.format.quantized_statistics()) return {parts.scales[at], parts.zeros[at]};
  const std::int64_t tile = group * parts.format.tiles(parts.m) + row / parts.format.beta2;
  return {parts.scale_scale[tile] * (static_cast<float>(parts.scale_codes[at]) - parts.scale_zero[tile]),
          parts.zero_scale[tile] * (static_cast<float>(parts.zero_codes[at]) - parts.zero_zero[tile])};
}

// Adds s of one row to `columns` (n), original order, and returns its sum.
double add_row(const float* w, const SpqrParts& parts, std::int64_t row, const Hessian& hessian,
               std::span<const double> weights, double* columns) {
  const std::int64_t group_columns = parts.format.group_columns(parts.n);
  const float largest = largest_code(parts.format.bits);
  ScaleAndZero statistics{};
  double sum = 0;
  for (std::int64_t j = 0; j < parts.n; ++j) {
    if (j % group_columns == 0) statistics = statistics_of(parts, row, j / group_columns);
    const std::int64_t column = hessian.perm.empty() ? j : hessian.perm[j];
    const float value = w[column];
    const float code = weight_code(value, statistics.scale, statistics.zero, largest);
    const double error =
        static_cast<double>(value) - static_cast<double>(statistics.scale * (code - statistics.zero));
    const double s = error * error * weights[j];
    columns[column] += s;
    sum += s;
  }
  return sum;
}

// Sums over the columns of each cell, from those of single columns (rows of cells, n), as means relative to
// the matrix's.
void fill_cells(std::span<const double> sums, SensitivityMap& map) {
  const double mean = map.total() / (static_cast<double>(map.m) * static_cast<double>(map.n));
  map.cells.assign(static_cast<std::size_t>(map.rows * map.columns), 0.0F);
  if (!(mean > 0)) return;
  for (std::int64_t a = 0; a < map.rows; ++a) {
    const std::int64_t height = cell_begin(a + 1, map.rows, map.m) - cell_begin(a, map.rows, map.m);
    for (std::int64_t b = 0; b < map.columns; ++b) {
      const std::int64_t begin = cell_begin(b, map.columns, map.n);
      const std::int64_t end = cell_begin(b + 1, map.columns, map.n);
      const double* row = sums.data() + a * map.n;
      const double sum = std::accumulate(row + begin, row + end, 0.0);
      const double relative = sum / static_cast<double>(height * (end - begin)) / mean;
      map.cells[a * map.columns + b] = std::min(static_cast<float>(relative), kLargestF16);
    }
  }
}

std::vector<float> narrow(std::span<const double> values) {
  return {values.begin(), values.end()};
}

// A tensor of this type and shape, as f32.
std::vector<float> read_floats(const SpqrFile& file, const std::string& name, DType dtype,
                               const std::vector<std::int64_t>& shape) {
  const auto fail = [&](const std::string& what) {
    throw std::runtime_error(fmt::format("{}: tensor '{}' {}", file.path().string(), name, what));
  };
  const std::optional<TensorView> found = file.find_tensor(name);
  if (!found) fail("is missing");
  if (found->dtype != dtype || found->shape != shape)
    fail("is not of the type and shape that belong to its matrix");
  std::vector<float> values(static_cast<std::size_t>(
      std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>())));
  if (dtype == DType::f16) {
    f16_to_f32(static_cast<const std::uint16_t*>(found->data), values.data(), values.size());
  } else {
    std::memcpy(values.data(), found->data, values.size() * sizeof(float));
  }
  const bool good =
      std::all_of(values.begin(), values.end(), [](float x) { return std::isfinite(x) && x >= 0; });
  if (!good) fail("has values that are negative or not finite");
  return values;
}

}  // namespace

double SensitivityMap::total() const {
  return std::accumulate(row_sums.begin(), row_sums.end(), 0.0);
}

SensitivityMap sensitivity_map(std::span<const float> w, const SpqrMatrix& packed, const Hessian& hessian) {
  const SpqrParts parts = unpack(packed);
  SensitivityMap map;
  map.m = packed.m;
  map.n = packed.n;
  map.rows = cells_of(map.m);
  map.columns = cells_of(map.n);
  map.row_sums.resize(static_cast<std::size_t>(map.m));
  map.column_sums.resize(static_cast<std::size_t>(map.n));
  const std::vector<double> weights = column_weights(hessian);
  std::vector<double> sums(static_cast<std::size_t>(map.rows * map.n));  // of the rows of each cell
  parallel(map.rows, [&](Indices& mine) {
    while (mine.next()) {
      const std::int64_t a = mine.index();
      const std::int64_t end = cell_begin(a + 1, map.rows, map.m);
      for (std::int64_t i = cell_begin(a, map.rows, map.m); i < end; ++i)
        map.row_sums[i] = add_row(w.data() + i * map.n, parts, i, hessian, weights, sums.data() + a * map.n);
    }
  });
  for (std::int64_t a = 0; a < map.rows; ++a) {
    for (std::int64_t j = 0; j < map.n; ++j) map.column_sums[j] += sums[a * map.n + j];
  }
  fill_cells(sums, map);
  return map;
}

void write_sensitivity(SpqrFileWriter& writer, const std::string& module, const SensitivityMap& map) {
  std::vector<std::uint16_t> halves(map.cells.size());
  f32_to_f16(map.cells.data(), halves.data(), halves.size());
  writer.add_dense(module + kCells, {halves.data(), DType::f16, {map.rows, map.columns}});
  const std::vector<float> rows = narrow(map.row_sums);
  writer.add_dense(module + kRowSums, {rows.data(), DType::f32, {map.m}});
  const std::vector<float> columns = narrow(map.column_sums);
  writer.add_dense(module + kColumnSums, {columns.data(), DType::f32, {map.n}});
}

std::uint64_t sensitivity_bytes(std::int64_t m, std::int64_t n) {
  return container::aligned(static_cast<std::size_t>(2 * cells_of(m) * cells_of(n))) +
         container::aligned(static_cast<std::size_t>(4 * m)) +
         container::aligned(static_cast<std::size_t>(4 * n));
}

SensitivityMap read_sensitivity(const SpqrFile& file, const std::string& module) {
  const SpqrFileModule* found = file.find_module(module);
  if (found == nullptr)
    throw std::runtime_error(
        fmt::format("{}: has no matrix '{}'; --tensors lists what it has", file.path().string(), module));
  if (!file.find_tensor(module + kCells))
    throw std::runtime_error(
        fmt::format("{}: has no sensitivity of {}; quantize with --keep-sensitivity, or give "
                    "the checkpoint and a --calibration text",
                    file.path().string(), module));
  SensitivityMap map;
  map.m = found->linear.m();
  map.n = found->linear.n();
  map.rows = cells_of(map.m);
  map.columns = cells_of(map.n);
  map.cells = read_floats(file, module + kCells, DType::f16, {map.rows, map.columns});
  const std::vector<float> rows = read_floats(file, module + kRowSums, DType::f32, {map.m});
  map.row_sums.assign(rows.begin(), rows.end());
  const std::vector<float> columns = read_floats(file, module + kColumnSums, DType::f32, {map.n});
  map.column_sums.assign(columns.begin(), columns.end());
  return map;
}

std::vector<std::string> modules_with_sensitivity(const SpqrFile& file) {
  std::vector<std::string> names;
  for (const SpqrFileModule& module : file.modules()) {
    if (file.find_tensor(module.name + kCells)) names.push_back(module.name);
  }
  return names;
}

}  // namespace spqr
