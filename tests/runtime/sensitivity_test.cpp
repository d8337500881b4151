// Which weights matter, and where the outliers are: against the definitions, and from file and checkpoint
// alike.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <random>

#include "kernels/quantize/second_moments.h"
#include "runtime/densest.h"
#include "runtime/inspect.h"
#include "runtime/outlier_spread.h"
#include "runtime/sensitivity_run.h"
#include "tests/models/files.h"
#include "tests/runtime/quantize_jobs.h"

namespace spqr {
namespace {

constexpr const char* kModule = "model.layers.2.self_attn.q_proj";

// A matrix, second moments of made-up inputs, and what quantizing makes of both.
struct Case {
  std::int64_t m;
  std::int64_t n;
  std::vector<float> w;
  std::vector<float> h;
  Hessian hessian;
  PackedMatrix packed;
};

// The last column is dead: no input ever reaches it.
Case make_case(std::int64_t m, std::int64_t n, const QuantizeOptions& options) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  Case c{m, n, {}, {}, {}, {}};
  for (std::int64_t i = 0; i < m * n; ++i) c.w.push_back(normal(random) * (i % 37 == 0 ? 6.0F : 1.0F));
  const std::int64_t tokens = 3 * n;
  std::vector<float> x;
  for (std::int64_t i = 0; i < tokens * n; ++i)
    x.push_back(i % n == n - 1 ? 0.0F : normal(random) * static_cast<float>(1 + i % n % 5));
  SecondMoments moments(n);
  moments.add(x.data(), tokens);
  c.h = moments.take();
  c.hessian = prepare_hessian(c.h, n, options.permutation, options.damp);
  c.packed = pack(quantize_spqr(c.w, m, n, c.hessian, options));
  return c;
}

// [H^-1]_jj of the damped H, by Gauss-Jordan elimination in double precision; original order.
std::vector<double> inverse_diagonal(const Case& c, double damp) {
  const auto n = static_cast<std::size_t>(c.n);
  double mean = 0;
  for (std::size_t j = 0; j < n; ++j) mean += c.h[j * n + j] / static_cast<double>(n);
  std::vector<double> a(n * n);
  std::vector<double> inverse(n * n);
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j < n; ++j) a[i * n + j] = c.h[i * n + j];
    a[i * n + i] = c.h[i * n + i] == 0 ? 1 : c.h[i * n + i] + damp * mean;
    inverse[i * n + i] = 1;
  }
  for (std::size_t p = 0; p < n; ++p) {
    const double pivot = a[p * n + p];
    for (std::size_t j = 0; j < n; ++j) {
      a[p * n + j] /= pivot;
      inverse[p * n + j] /= pivot;
    }
    for (std::size_t i = 0; i < n; ++i) {
      const double factor = a[i * n + p];
      for (std::size_t j = 0; i != p && j < n; ++j) {
        a[i * n + j] -= factor * a[p * n + j];
        inverse[i * n + j] -= factor * inverse[p * n + j];
      }
    }
  }
  std::vector<double> diagonal(n);
  for (std::size_t j = 0; j < n; ++j) diagonal[j] = inverse[j * n + j];
  return diagonal;
}

// All values that the dense part of a row and group can have: what remains of decoding when the outliers are
// left out and the codes are all tried.
double nearest_error(const Case& c, std::int64_t row, std::int64_t stored_column) {
  SpqrParts parts = unpack(c.packed.view());
  parts.row_offsets.clear();
  parts.columns.clear();
  parts.values.clear();
  const std::int64_t column =
      parts.perm.empty() && !c.hessian.perm.empty() ? c.hessian.perm[stored_column] : stored_column;
  double best = std::numeric_limits<double>::infinity();
  for (int code = 0; code < 1 << parts.format.bits; ++code) {
    parts.codes[row * c.n + stored_column] = static_cast<std::uint8_t>(code);
    const float value = dequantize(parts)[row * c.n + stored_column];
    best = std::min(best, std::abs(static_cast<double>(c.w[row * c.n + column]) - value));
  }
  return best;
}

void check_map(const QuantizeOptions& options) {
  const Case c = make_case(20, 24, options);
  const SensitivityMap map = sensitivity_map(c.w, c.packed.view(), c.hessian);
  const std::vector<double> diagonal = inverse_diagonal(c, options.damp);
  REQUIRE(map.rows == c.m);
  REQUIRE(map.columns == c.n);
  std::vector<double> expected(static_cast<std::size_t>(c.m * c.n));
  for (std::int64_t j = 0; j < c.n; ++j) {
    const std::int64_t column = c.hessian.perm.empty() ? j : c.hessian.perm[j];
    for (std::int64_t i = 0; i < c.m && column != c.n - 1; ++i)
      expected[i * c.n + column] = std::pow(nearest_error(c, i, j), 2) / (2 * diagonal[column]);
  }
  const double total = std::accumulate(expected.begin(), expected.end(), 0.0);
  CHECK(map.total() == doctest::Approx(total).epsilon(1e-4));  // U is rounded to f32, its squares summed
  for (std::int64_t i = 0; i < c.m; ++i) {
    const auto row = expected.begin() + i * c.n;
    CHECK(map.row_sums[i] == doctest::Approx(std::accumulate(row, row + c.n, 0.0)).epsilon(1e-4));
  }
  for (std::int64_t j = 0; j < c.n; ++j) {
    double sum = 0;
    for (std::int64_t i = 0; i < c.m; ++i) sum += expected[i * c.n + j];
    CHECK(map.column_sums[j] == doctest::Approx(sum).epsilon(1e-4));
    const double cell = expected[3 * c.n + j] * static_cast<double>(c.m * c.n) / total;
    CHECK(map.cells[3 * c.n + j] == doctest::Approx(cell).epsilon(2e-4));
  }
  CHECK(map.column_sums[c.n - 1] == 0);
}

}  // namespace

TEST_CASE("sensitivity is the squared error of the nearest code over twice the inverse Hessian's diagonal") {
  QuantizeOptions options;
  options.format = {.bits = 3, .beta1 = 8, .beta2 = 8, .scale_bits = 3, .zero_bits = 3};
  SUBCASE("act_order, quantized statistics, outliers") {
    check_map(options);
  }
  SUBCASE("identity") {
    options.permutation = PermutationOrder::identity;
    options.damp = 0.01;
    check_map(options);
  }
  SUBCASE("whole rows, f16 statistics, no outliers") {
    options.format = {
        .bits = 4, .beta1 = SpqrFormat::kWholeRow, .beta2 = 16, .scale_bits = 16, .zero_bits = 16};
    options.outlier_threshold = std::numeric_limits<double>::infinity();
    check_map(options);
  }
}

TEST_CASE("sensitivity: cells are means over blocks of rows and columns") {
  QuantizeOptions options;
  const Case c = make_case(300, 24, options);
  const SensitivityMap map = sensitivity_map(c.w, c.packed.view(), c.hessian);
  REQUIRE(map.rows == 256);
  REQUIRE(map.columns == 24);
  double sum = 0;
  for (std::int64_t a = 0; a < map.rows; ++a) {
    const std::int64_t height = (a + 1) * 300 / 256 - a * 300 / 256;
    for (std::int64_t b = 0; b < map.columns; ++b)
      sum += static_cast<double>(map.cells[a * map.columns + b]) * static_cast<double>(height);
  }
  CHECK(sum / (300 * 24) == doctest::Approx(1).epsilon(1e-5));
}

TEST_CASE("the densest hundredth") {
  std::vector<double> sums(200, 1.0);
  sums[7] = 101;
  CHECK(densest_percent(sums).count == 2);
  CHECK(densest_percent(sums).share == doctest::Approx(102.0 / 300));
  CHECK(densest_percent(std::vector<double>(50, 0.0)).share == 0);
  CHECK(densest_percent(std::vector<double>(101, 1.0)).count == 2);
}

TEST_CASE("--keep-sensitivity: the file runs as before, and says what a run from the checkpoint says") {
  const TemporaryDirectory folder;
  const QuantizeJob plain = stories_job(folder.path() / "plain.spqr", {});
  const QuantizeJob keeping = stories_job(folder.path() / "keeping.spqr", {{"keep-sensitivity", ""}});
  quantize(plain);
  quantize(keeping);
  const SpqrFile file = SpqrFile::open(keeping.out, {.mmap = true, .verify = true});
  CHECK(logits_of(file, {1, 5, 9}) == logits_of(SpqrFile::open(plain.out, {}), {1, 5, 9}));
  CHECK(modules_with_sensitivity(file).size() == 35);
  const Inspection inspection = inspect(file, 0);
  CHECK(inspection.blocks.bytes == inspect(SpqrFile::open(plain.out, {}), 0).blocks.bytes);
  SensitivityJob job{plain.model, plain.tokenizer, kModule, plain.settings, 0};
  const SensitivityMap stored = read_sensitivity(file, kModule);
  const SensitivityMap fresh = measure_sensitivity(
                                   job, [](const std::string&) {}, [] { return false; })
                                   .map;
  REQUIRE(fresh.row_sums.size() == stored.row_sums.size());
  for (std::size_t i = 0; i < fresh.row_sums.size(); ++i)
    CHECK(stored.row_sums[i] == static_cast<double>(static_cast<float>(fresh.row_sums[i])));
  for (std::size_t i = 0; i < fresh.cells.size(); ++i)  // of f16
    CHECK(stored.cells[i] == doctest::Approx(fresh.cells[i]).epsilon(0x1p-10));
  const std::vector<double> heads = sensitivity_by_head(stored, kModule, inspection.config);
  CHECK(heads.size() == 8);
  CHECK(std::accumulate(heads.begin(), heads.end(), 0.0) == doctest::Approx(1));
  CHECK(sensitivity_by_head(stored, "model.layers.2.mlp.up_proj", inspection.config).empty());
  CHECK_THROWS_WITH(read_sensitivity(SpqrFile::open(plain.out, {}), kModule),
                    doctest::Contains("quantize with --keep-sensitivity"));
  job.module = "model.layers.9.self_attn.q_proj";
  CHECK_THROWS_WITH(measure_sensitivity(
                        job, [](const std::string&) {}, [] { return false; }),
                    doctest::Contains("no block has a matrix"));
}

TEST_CASE("--keep-sensitivity: an interrupted run goes on to the same bytes") {
  const TemporaryDirectory folder;
  QuantizeJob whole = stories_job(folder.path() / "whole.spqr", {{"keep-sensitivity", ""}});
  QuantizeJob stopped = stories_job(folder.path() / "stopped.spqr", {{"keep-sensitivity", ""}});
  quantize(whole);
  quantize_interrupted(stopped, 17);
  stopped.resume = true;
  quantize(stopped);
  CHECK(read_bytes(whole.out) == read_bytes(stopped.out));
}

TEST_CASE("outliers are counted by row and by original column") {
  const TemporaryDirectory folder;
  const QuantizeJob job = stories_job(folder.path() / "a.spqr", {});
  const QuantizeSummary summary = quantize(job);
  const SpqrFile file = SpqrFile::open(job.out, {});
  const std::vector<OutlierSpread> spreads = outlier_spread(file);
  REQUIRE(spreads.size() == 35);
  for (const OutlierSpread& spread : spreads) {
    const SpqrFileModule* module = file.find_module(spread.module);
    const auto& matrix = std::get<SpqrMatrix>(module->linear.weight);
    std::vector<std::int64_t> columns(static_cast<std::size_t>(matrix.n));
    for (const std::uint32_t entry : matrix.col_vals)
      ++columns[file.perm(module->perm_name)[entry & 0xFFFFU]];
    CHECK(columns[spread.largest_column] == *std::max_element(columns.begin(), columns.end()));
    CHECK(spread.in_largest_column == columns[spread.largest_column]);
    const auto row = static_cast<std::size_t>(spread.largest_row);
    CHECK(spread.in_largest_row == matrix.row_offsets[row + 1] - matrix.row_offsets[row]);
    CHECK(spread.rows.count == (spread.m + 99) / 100);
    CHECK(spread.rows.share * static_cast<double>(spread.outliers) >=
          static_cast<double>(spread.in_largest_row) - 0.5);
  }
  CHECK(to_json(spreads)["matrices"].size() == 35);
}

}  // namespace spqr
