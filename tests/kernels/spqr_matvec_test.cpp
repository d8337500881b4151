#include "kernels/cpu/spqr_matvec.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <doctest/doctest.h>
#include <omp.h>

#include "kernels/cpu/spqr_strip.h"
#include "tests/kernels/random_parts.h"

namespace spqr {
namespace {

// w x of one row in double, and the rounding that f32 arithmetic may add to it.
//   Codes, statistics and x are exact or correctly rounded inputs. With u = 2^-24 every product and partial
//   sum rounds by u of itself; a chain is at most 256 columns, then one sum over spans and the outliers. The
//   kernel sums q x and z x apart, so that the bound has |q| + |z| where the result has q - z.
struct RowProduct {
  double value = 0;
  double tolerance = 0;
};

std::vector<RowProduct> row_products(const SpqrParts& parts, const std::vector<float>& x) {
  constexpr double kUnit = 0x1p-24;
  const SpqrFormat& format = parts.format;
  const std::int64_t group_columns = format.group_columns(parts.n);
  const std::int64_t spans = (parts.n + 7) / std::min<std::int64_t>(group_columns, 256) + 1;
  const std::int64_t tiles = format.tiles(parts.m);
  std::vector<RowProduct> products(static_cast<std::size_t>(parts.m));
  for (std::int64_t row = 0; row < parts.m; ++row) {
    double size = 0;
    for (std::int64_t j = 0; j < parts.n; ++j) {
      const std::int64_t group = j / group_columns;
      const std::int64_t at = group * parts.m + row;
      double scale;
      double zero;
      double rounding = 0;  // of s and z themselves
      if (format.quantized_statistics()) {
        const std::int64_t tile = group * tiles + row / format.beta2;
        const double scale_zero = parts.scale_zero[tile];
        scale = parts.scale_scale[tile] * (parts.scale_codes[at] - scale_zero);
        zero = parts.zero_scale[tile] * (parts.zero_codes[at] - static_cast<double>(parts.zero_zero[tile]));
        rounding = 3 * kUnit;
      } else {
        scale = parts.scales[at];
        zero = parts.zeros[at];
      }
      const double code = parts.codes[row * parts.n + j];
      products[row].value += scale * (code - zero) * x[j];
      size += std::abs(scale) * (code + std::abs(zero)) * std::abs(x[j]) * (1 + 2 * rounding);
    }
    double outlier_size = 0;
    std::uint32_t outliers = 0;
    if (!parts.row_offsets.empty()) {
      for (std::uint32_t i = parts.row_offsets[row]; i < parts.row_offsets[row + 1]; ++i, ++outliers) {
        products[row].value += static_cast<double>(parts.values[i]) * x[parts.columns[i]];
        outlier_size += std::abs(static_cast<double>(parts.values[i]) * x[parts.columns[i]]);
      }
    }
    const auto chain = static_cast<double>(std::min<std::int64_t>(256, parts.n) + spans + 16);
    products[row].tolerance = kUnit * (chain * size + (outliers + 2.0) * (outlier_size + size));
  }
  return products;
}

void check_matvec(const SpqrParts& parts, const std::string& what, std::mt19937& random) {
  const PackedMatrix packed = pack(parts);
  std::normal_distribution<float> distribution;
  std::vector<float> x(static_cast<std::size_t>(parts.n));
  for (float& value : x) value = distribution(random);
  const std::vector<RowProduct> expected = row_products(parts, x);
  for (const SpqrStripKernels* kernels : spqr_strip_kernels()) {
    std::vector<float> y(static_cast<std::size_t>(parts.m), NAN);
    spqr_matvec(*kernels, packed.view(), x.data(), y.data());
    for (std::int64_t row = 0; row < parts.m; ++row) {
      if (std::abs(y[row] - expected[row].value) <= expected[row].tolerance) continue;
      FAIL(what, ", row ", row, ": ", y[row], " instead of ", expected[row].value, " +- ",
           expected[row].tolerance);
    }
  }
}

void check_dequantize(const SpqrParts& parts, const std::string& what, std::int64_t first,
                      std::int64_t rows) {
  const PackedMatrix packed = pack(parts);
  std::vector<float> expected(static_cast<std::size_t>(parts.n));
  for (const SpqrStripKernels* kernels : spqr_strip_kernels()) {
    std::vector<float> w(static_cast<std::size_t>(rows * parts.n), NAN);
    dequantize_rows(*kernels, packed.view(), first, rows, w.data());
    for (std::int64_t row = 0; row < rows; ++row) {
      dequantize_row(packed.view(), first + row, expected.data());
      INFO(what, ", row ", first + row);
      REQUIRE(std::equal(expected.begin(), expected.end(), w.begin() + row * parts.n));
    }
  }
}

TEST_CASE("spqr_matvec and dequantize_rows: every bits, beta1 and beta2, with and without outliers") {
  std::mt19937 random(1);
  for (int bits = 2; bits <= 8; ++bits) {
    for (std::int64_t beta1 : {8, 16, 32, 64, 128, 0}) {
      for (int beta2 : {8, 16, 32, 64}) {
        SpqrFormat format = random_format(random);
        format.bits = bits;
        format.beta1 = beta1;
        format.beta2 = beta2;
        const auto outliers = static_cast<Outliers>(random() % 3);
        const SpqrParts parts = random_parts(format, 130, 301, outliers, random);
        check_matvec(parts, describe(parts, outliers), random);
        check_dequantize(parts, describe(parts, outliers), 0, parts.m);
      }
    }
  }
}

TEST_CASE("spqr_matvec and dequantize_rows: ragged and small shapes") {
  std::mt19937 random(2);
  for (int i = 0; i < 300; ++i) {
    const auto m = static_cast<std::int64_t>(1 + random() % (i % 3 == 0 ? 12 : 200));
    const auto n = static_cast<std::int64_t>(1 + random() % (i % 5 == 0 ? 12 : 200));
    const auto outliers = static_cast<Outliers>(random() % 3);
    const SpqrParts parts = random_parts(random_format(random), m, n, outliers, random);
    check_matvec(parts, describe(parts, outliers), random);
    const auto first = static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(m));
    const auto rows = static_cast<std::int64_t>(1 + random() % static_cast<std::uint64_t>(m - first));
    check_dequantize(parts, describe(parts, outliers), first, rows);
  }
}

TEST_CASE("spqr_matvec does not depend on the number of threads") {
  std::mt19937 random(3);
  const SpqrParts parts = random_parts({3, 16, 16, 3, 3}, 1000, 777, Outliers::some, random);
  const PackedMatrix packed = pack(parts);
  std::vector<float> x(777, 0.25F);
  std::iota(x.begin(), x.end(), -300.0F);
  const int threads = omp_get_max_threads();
  std::vector<std::vector<float>> results;
  for (int count : {1, 2, 5}) {
    omp_set_num_threads(count);
    spqr_matvec(packed.view(), x.data(), results.emplace_back(1000).data());
  }
  omp_set_num_threads(threads);
  CHECK(results[0] == results[1]);
  CHECK(results[0] == results[2]);
}

}  // namespace
}  // namespace spqr
