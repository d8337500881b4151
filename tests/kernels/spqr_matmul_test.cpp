#include "kernels/cpu/spqr_matmul.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <doctest/doctest.h>

#include "kernels/cpu/kernel_tables.h"
#include "kernels/threads.h"
#include "tests/kernels/random_parts.h"

namespace spqr {
namespace {

// w x of one row in double, and the rounding that f32 arithmetic may add to it.
//   Codes, statistics and x are exact or correctly rounded inputs. With u = 2^-24 every product and partial
//   sum rounds by u of itself; a chain is at most 256 columns, then one sum over groups and the outliers. The
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

// Matrices of tokens side by side.
std::vector<float> all_of(const std::vector<std::vector<float>>& tokens) {
  std::vector<float> values;
  for (const auto& token : tokens) values.insert(values.end(), token.begin(), token.end());
  return values;
}

Matrix matrix_of(std::vector<float>& values, std::size_t tokens) {
  const auto rows = static_cast<std::int64_t>(tokens);
  return {values.data(), rows, static_cast<std::int64_t>(values.size()) / rows};
}

// y = W x for the matrix twice, the second time with a bias and added to what is there.
void check_products(Isa isa, const SpqrMatrix& w, const std::vector<std::vector<float>>& tokens,
                    ActivationType activations, const std::vector<std::vector<RowProduct>>& expected,
                    const std::string& what) {
  constexpr float kBias = 2;
  constexpr float kBefore = -1;
  std::vector<float> x = all_of(tokens);
  const auto rows = static_cast<std::size_t>(w.m);
  const std::vector<float> bias(rows, kBias);
  std::vector<float> y(rows * tokens.size(), NAN);
  std::vector<float> sum(y.size(), kBefore);
  const std::vector<SpqrProduct> products{{.w = &w, .y = y.data()},
                                          {.w = &w, .bias = bias, .y = sum.data(), .add = true}};
  SpqrInput input;
  spqr_matmul(kernel_tables(isa), products, matrix_of(x, tokens.size()), activations, input);
  for (std::size_t i = 0; i < y.size(); ++i) {
    const RowProduct& right = expected[i / rows][i % rows];
    const double rounding = 0x1p-22 * (std::abs(right.value) + 2);
    const double difference = std::abs(sum[i] - (right.value + kBias + kBefore));
    if (std::abs(y[i] - right.value) <= right.tolerance && difference <= right.tolerance + rounding) continue;
    FAIL(what, ", ", name_of(isa), ", token ", i / rows, ", row ", i % rows, ": ", y[i], " and ", sum[i],
         " instead of ", right.value, " +- ", right.tolerance);
  }
}

// x rounded to 16 bits by blocks of 256 columns, in double.
std::vector<float> rounded(const std::vector<float>& x) {
  constexpr std::size_t kBlock = 256;
  constexpr double kLargest = 32639;
  std::vector<float> result(x.size());
  for (std::size_t first = 0; first < x.size(); first += kBlock) {
    const std::size_t end = std::min(first + kBlock, x.size());
    double most = 0;
    for (std::size_t j = first; j < end; ++j) most = std::max(most, std::abs(static_cast<double>(x[j])));
    for (std::size_t j = first; j < end; ++j) {
      // The kernel's factor is rounded, and a product near half a step may fall to either side.
      result[j] = most > 0 ? static_cast<float>(std::nearbyint(x[j] * kLargest / most) * most / kLargest) : 0;
    }
  }
  return result;
}

// In 16 bits: the product of the rounded x, outliers aside, and what it takes that some x next to the middle
// of two steps are rounded the other way.
std::vector<RowProduct> coarse_products(const SpqrParts& parts, const std::vector<float>& x) {
  SpqrParts dense = parts;
  dense.row_offsets.clear();
  SpqrParts sparse = parts;
  std::fill(sparse.codes.begin(), sparse.codes.end(), std::uint8_t{0});
  for (auto* values : {&sparse.zero_codes, &sparse.scale_codes}) std::fill(values->begin(), values->end(), 0);
  for (auto* values : {&sparse.scales, &sparse.zeros, &sparse.scale_scale, &sparse.zero_scale})
    std::fill(values->begin(), values->end(), 0.0F);
  std::vector<RowProduct> coarse = row_products(dense, rounded(x));
  const std::vector<RowProduct> outliers = row_products(sparse, x);
  const std::vector<float> w = dequantize(dense);
  const auto n = static_cast<std::size_t>(parts.n);
  float most = 0;
  for (const float value : x) most = std::max(most, std::abs(value));
  for (std::size_t row = 0; row < coarse.size(); ++row) {
    float largest = 0;
    for (std::size_t j = 0; j < n; ++j) largest = std::max(largest, std::abs(w[row * n + j]));
    coarse[row].value += outliers[row].value;
    coarse[row].tolerance += outliers[row].tolerance + 0x1p-22 * std::abs(outliers[row].value);
    constexpr double kUndecided = 3;  // of up to 301 numbers within 32639 u of a step's middle
    coarse[row].tolerance += kUndecided * static_cast<double>(largest) * most / 32639;
  }
  return coarse;
}

void check_matmul(const SpqrParts& parts, const std::string& what, std::mt19937& random) {
  const PackedMatrix packed = pack(parts);
  std::normal_distribution<float> distribution;
  std::vector<std::vector<float>> tokens(1 + random() % 2 * (random() % 40));
  std::vector<std::vector<RowProduct>> exact;
  std::vector<std::vector<RowProduct>> coarse;
  for (std::vector<float>& x : tokens) {
    x.resize(static_cast<std::size_t>(parts.n));
    for (float& value : x) value = distribution(random);
    exact.push_back(row_products(parts, x));
    coarse.push_back(coarse_products(parts, x));
  }
  for (const Isa isa : present_isas()) {
    check_products(isa, packed.view(), tokens, ActivationType::f32, exact, what + ", f32");
    if (kernel_tables(isa).strips.multiply_int16 != nullptr)
      check_products(isa, packed.view(), tokens, ActivationType::automatic, coarse, what + ", int16");
  }
}

void check_dequantize(const SpqrParts& parts, const std::string& what, std::int64_t first,
                      std::int64_t rows) {
  const PackedMatrix packed = pack(parts);
  std::vector<float> expected(static_cast<std::size_t>(parts.n));
  for (const Isa isa : present_isas()) {
    std::vector<float> w(static_cast<std::size_t>(rows * parts.n), NAN);
    dequantize_rows(kernel_tables(isa).strips, packed.view(), first, rows, w.data());
    for (std::int64_t row = 0; row < rows; ++row) {
      dequantize_row(packed.view(), first + row, expected.data());
      INFO(what, ", row ", first + row);
      REQUIRE(std::equal(expected.begin(), expected.end(), w.begin() + row * parts.n));
    }
  }
}

TEST_CASE("spqr_matmul and dequantize_rows: every bits, beta1 and beta2, with and without outliers") {
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
        check_matmul(parts, describe(parts, outliers), random);
        check_dequantize(parts, describe(parts, outliers), 0, parts.m);
        if (beta2 != 16) continue;
        format.scale_bits = format.zero_bits = 3;  // the presets' statistics have a way of their own
        const SpqrParts usual = random_parts(format, 130, 301, outliers, random);
        check_matmul(usual, describe(usual, outliers), random);
      }
    }
  }
}

TEST_CASE("spqr_matmul and dequantize_rows: ragged and small shapes") {
  std::mt19937 random(2);
  for (int i = 0; i < 300; ++i) {
    const auto m = static_cast<std::int64_t>(1 + random() % (i % 3 == 0 ? 12 : 200));
    const auto n = static_cast<std::int64_t>(1 + random() % (i % 5 == 0 ? 12 : 200));
    const auto outliers = static_cast<Outliers>(random() % 3);
    const SpqrParts parts = random_parts(random_format(random), m, n, outliers, random);
    check_matmul(parts, describe(parts, outliers), random);
    const auto first = static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(m));
    const auto rows = static_cast<std::int64_t>(1 + random() % static_cast<std::uint64_t>(m - first));
    check_dequantize(parts, describe(parts, outliers), first, rows);
  }
}

TEST_CASE("spqr_matmul does not depend on the number of threads") {
  std::mt19937 random(3);
  const SpqrParts parts = random_parts({3, 16, 16, 3, 3}, 1000, 777, Outliers::some, random);
  const PackedMatrix packed = pack(parts);
  const SpqrMatrix w = packed.view();
  std::vector<float> x(777, 0.25F);
  std::iota(x.begin(), x.end(), -300.0F);
  const KernelTables& kernels = best_kernel_tables();
  for (const ActivationType activations : {ActivationType::f32, ActivationType::automatic}) {
    if (activations == ActivationType::automatic && kernels.strips.multiply_int16 == nullptr) continue;
    std::vector<std::vector<float>> results;
    for (int count : {1, 2, 5}) {
      set_threads(count);
      const SpqrProduct product{.w = &w, .y = results.emplace_back(1000).data()};
      SpqrInput input;
      spqr_matmul(kernels, {&product, 1}, matrix_of(x, 1), activations, input);
    }
    CHECK(results[0] == results[1]);
    CHECK(results[0] == results[2]);
  }
  set_threads(0);
}

TEST_CASE("spqr_matmul: products of one input whose matrices have different formats") {
  std::mt19937 random(4);
  std::normal_distribution<float> distribution;
  std::vector<float> x(200);
  for (float& value : x) value = distribution(random);
  const SpqrParts a = random_parts({3, 16, 16, 3, 3}, 70, 200, Outliers::some, random);
  const SpqrParts b = random_parts({4, SpqrFormat::kWholeRow, 16, 3, 3}, 100, 200, Outliers::none, random);
  const PackedMatrix packed[] = {pack(a), pack(b), pack(a)};
  const KernelTables& kernels = best_kernel_tables();
  for (const ActivationType activations : {ActivationType::f32, ActivationType::automatic}) {
    if (activations == ActivationType::automatic && kernels.strips.multiply_int16 == nullptr) continue;
    std::vector<std::vector<float>> together;
    std::vector<std::vector<float>> alone;
    std::vector<SpqrMatrix> views;
    for (const PackedMatrix& matrix : packed) views.push_back(matrix.view());
    std::vector<SpqrProduct> products;
    SpqrInput input;
    for (const SpqrMatrix& w : views) {
      alone.emplace_back(static_cast<std::size_t>(w.m));
      together.emplace_back(static_cast<std::size_t>(w.m));
    }
    for (std::size_t i = 0; i < views.size(); ++i) {
      const SpqrProduct product{.w = &views[i], .y = alone[i].data()};
      spqr_matmul(kernels, {&product, 1}, matrix_of(x, 1), activations, input);
      products.push_back({.w = &views[i], .y = together[i].data()});
    }
    spqr_matmul(kernels, products, matrix_of(x, 1), activations, input);
    CHECK(together == alone);
  }
}

// Of x that is zero, tiny, huge or not a number: as f32 has it.
TEST_CASE("spqr_matmul: inputs that 16 bits have no scale for") {
  std::mt19937 random(5);
  const SpqrParts parts = random_parts({4, 16, 16, 3, 3}, 64, 48, Outliers::none, random);
  const PackedMatrix packed = pack(parts);
  const SpqrMatrix w = packed.view();
  for (const Isa isa : present_isas()) {
    const KernelTables& kernels = kernel_tables(isa);
    if (kernels.strips.multiply_int16 == nullptr) continue;
    const auto product_of = [&](float value) {
      std::vector<float> x(48, 0.0F);
      x[20] = value;
      std::vector<float> y(64);
      const SpqrProduct product{.w = &w, .y = y.data()};
      SpqrInput input;
      spqr_matmul(kernels, {&product, 1}, matrix_of(x, 1), ActivationType::automatic, input);
      return y;
    };
    CHECK(product_of(0) == std::vector<float>(64, 0.0F));
    for (const float value : product_of(1e-38F)) CHECK(std::abs(value) < 1e-30F);
    for (const float value : product_of(1e30F)) CHECK(std::isfinite(value));
    for (const float value : product_of(NAN)) CHECK(std::isnan(value));
    for (const float value : product_of(INFINITY)) CHECK_FALSE(std::isfinite(value));
  }
}

}  // namespace
}  // namespace spqr
