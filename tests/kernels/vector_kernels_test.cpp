// Every table of vector_kernels.h that this machine can run, also those that it would not choose.
#include "kernels/cpu/kernel_tables.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "kernels/cpu/panels.h"
#include "kernels/half.h"
#include "tests/kernels/operands.h"

namespace spqr {
namespace {

struct Table {
  const char* isa;
  const cpu::VectorKernels* kernels;
};

std::vector<Table> tables() {
  std::vector<Table> all;
  for (const Isa isa : present_isas()) all.push_back({name_of(isa).data(), &kernel_tables(isa).vectors});
  return all;
}

// sum a b and (n + 1) roundings of the sum of sizes, as for any order of f32 additions.
struct Dot {
  double value = 0;
  double tolerance = 0;
};

Dot dot_of(const float* a, const float* b, std::int64_t n) {
  Dot dot;
  for (std::int64_t i = 0; i < n; ++i) {
    dot.value += static_cast<double>(a[i]) * b[i];
    dot.tolerance += static_cast<double>(n + 1) * kUnit * std::abs(static_cast<double>(a[i]) * b[i]);
  }
  return dot;
}

}  // namespace

TEST_CASE("vector kernels: dot products of all stored types, any length") {
  std::mt19937 random(1);
  for (const auto& [isa, kernels] : tables()) {
    for (std::int64_t n = 0; n < 100; ++n) {
      INFO(isa, ", n ", n);
      const std::vector<float> b = random_vector(n, random);
      std::vector<float> a = random_vector(n, random);
      std::vector<std::uint16_t> stored(a.size());
      const auto check = [&](float found) {
        const Dot expected = dot_of(a.data(), b.data(), n);
        CHECK(std::abs(found - expected.value) <= expected.tolerance);
      };
      check(kernels->dot(a.data(), b.data(), n));
      f32_to_f16(a.data(), stored.data(), a.size());
      f16_to_f32(stored.data(), a.data(), a.size());
      check(kernels->dot_f16(stored.data(), b.data(), n));
      f32_to_bf16(a.data(), stored.data(), a.size());
      bf16_to_f32(stored.data(), a.data(), a.size());
      check(kernels->dot_bf16(stored.data(), b.data(), n));
    }
  }
}

TEST_CASE("vector kernels: many rows at once") {
  std::mt19937 random(2);
  for (const auto& [isa, kernels] : tables()) {
    for (const std::int64_t n : {1, 12, 31, 32, 64, 100}) {
      for (const std::int64_t count : {1, 5, 64}) {
        INFO(isa, ", ", count, " rows of ", n);
        const std::vector<float> rows = random_vector(count * n, random);
        const std::vector<float> x = random_vector(n, random);
        std::vector<float> y(static_cast<std::size_t>(count));
        kernels->dot_rows(rows.data(), count, x.data(), y.data(), n);
        for (std::int64_t r = 0; r < count; ++r) {
          const Dot expected = dot_of(rows.data() + r * n, x.data(), n);
          CHECK(std::abs(y[static_cast<std::size_t>(r)] - expected.value) <= expected.tolerance);
        }
        std::vector<float> sums = x;
        kernels->add_rows(y.data(), rows.data(), count, sums.data(), n);
        for (std::int64_t i = 0; i < n; ++i) {
          const auto at = static_cast<std::size_t>(i);
          double sum = static_cast<double>(x[at]);
          double size = std::abs(sum);
          for (std::int64_t r = 0; r < count; ++r) {
            const double term = static_cast<double>(y[static_cast<std::size_t>(r)]) *
                                rows[static_cast<std::size_t>(r * n + i)];
            sum += term;
            size += std::abs(term);
          }
          CHECK(std::abs(sums[at] - sum) <= static_cast<double>(count + 1) * kUnit * size);
        }
      }
    }
  }
}

TEST_CASE("vector kernels: a panel is the transpose of its rows, filled up with zeros") {
  std::mt19937 random(4);
  for (const auto& [isa, kernels] : tables()) {
    for (const std::int64_t depth : {1, 7, 8, 33}) {
      for (const std::int64_t cols : {1, 9, 16}) {
        INFO(isa, ", depth ", depth, ", ", cols, " columns");
        const std::vector<float> w = random_vector(cols * depth, random);
        std::vector<float> panel(static_cast<std::size_t>(depth * cpu::kPanelCols), NAN);
        kernels->transpose_panel(panel.data(), w.data(), depth, cols);
        for (std::int64_t k = 0; k < depth; ++k) {
          for (std::int64_t i = 0; i < cpu::kPanelCols; ++i) {
            CHECK(panel[static_cast<std::size_t>(k * cpu::kPanelCols + i)] ==
                  (i < cols ? w[static_cast<std::size_t>(i * depth + k)] : 0.0F));
          }
        }
      }
    }
  }
}

// C (+)= A W^T for A as rows, and as the transpose of a panel.
void check_panel_products(const Table& table, std::int64_t depth, std::int64_t rows, std::int64_t cols,
                          std::mt19937& random) {
  INFO(table.isa, ", depth ", depth, ", ", rows, " rows, ", cols, " columns");
  const std::vector<float> w = random_vector(cols * depth, random);
  std::vector<float> memory(static_cast<std::size_t>(cpu::panel_floats(depth, cols)));
  const cpu::Panels panels = cpu::pack_transposed(*table.kernels, memory.data(), w.data(), depth, cols);
  const std::int64_t stride_a = depth + 2;
  const std::int64_t stride_c = cols + 3;
  const std::vector<float> a = random_vector(rows * stride_a, random);
  std::vector<float> transposed(static_cast<std::size_t>(depth * cpu::kPanelCols));
  for (std::int64_t k = 0; k < depth; ++k) {
    for (std::int64_t r = 0; r < std::min(rows, cpu::kPanelCols); ++r)
      transposed[static_cast<std::size_t>(k * cpu::kPanelCols + r)] =
          a[static_cast<std::size_t>(r * stride_a + k)];
  }
  const std::vector<float> before = random_vector(rows * stride_c, random);
  for (const bool add : {false, true}) {
    const cpu::Store store = add ? cpu::Store::add : cpu::Store::overwrite;
    std::vector<float> c = before;
    cpu::multiply(table.kernels->multiply_panels, {c.data(), stride_c}, {a.data(), stride_a}, rows, panels,
                  {0, depth}, store);
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t i = 0; i < stride_c; ++i) {
        const auto at = static_cast<std::size_t>(r * stride_c + i);
        if (i >= cols) {
          CHECK(c[at] == before[at]);  // what is beside the product stays
          continue;
        }
        const Dot dot = dot_of(a.data() + r * stride_a, w.data() + i * depth, depth);
        const double expected = dot.value + (add ? static_cast<double>(before[at]) : 0);
        CHECK(std::abs(c[at] - expected) <= dot.tolerance + kUnit * std::abs(expected));
      }
    }
    if (rows > cpu::kPanelCols) continue;
    std::vector<float> again = before;
    cpu::multiply_transposed(table.kernels->multiply_panels, {again.data(), stride_c},
                             {transposed.data(), depth, rows}, panels, {0, depth}, store);
    CHECK(again == c);
  }
}

TEST_CASE("vector kernels: products with panels, of any extents") {
  std::mt19937 random(5);
  for (const Table& table : tables()) {
    for (const std::int64_t depth : {1, 7, 33}) {
      for (const std::int64_t cols : {1, 9, 16, 17, 32, 40, 64}) {
        for (const std::int64_t rows : {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 16, 30})
          check_panel_products(table, depth, rows, cols, random);
      }
    }
  }
}

TEST_CASE("vector kernels: softmax pieces, swiglu, rms_norm, scale") {
  std::mt19937 random(3);
  for (const auto& [isa, kernels] : tables()) {
    for (const std::int64_t n : {1, 3, 8, 50, 257}) {
      INFO(isa, ", n ", n);
      const std::vector<float> x = random_vector(n, random, 20);
      const std::vector<float> w = random_vector(n, random);
      const auto count = static_cast<std::size_t>(n);
      std::vector<float> y = x;
      const float maximum = kernels->scale_max(0.5F, y.data(), n);
      CHECK(maximum == *std::max_element(x.begin(), x.end()) * 0.5F);
      const float total = kernels->exp_sum(maximum, y.data(), n);
      double expected_total = 0;
      for (std::size_t i = 0; i < count; ++i) {
        const double expected = std::exp(static_cast<double>(x[i]) * 0.5 - static_cast<double>(maximum));
        expected_total += expected;
        CHECK(std::abs(y[i] - expected) <=
              128 * kUnit * expected + 1e-37);  // x - maximum rounds: 2^-24 of up to 87
      }
      CHECK(std::abs(total - expected_total) <= (static_cast<double>(n) + 128) * kUnit * expected_total);

      kernels->swiglu(y.data(), x.data(), w.data(), n);
      for (std::size_t i = 0; i < count; ++i) {
        const double g = static_cast<double>(x[i]);
        const double expected = g / (1 + std::exp(-g)) * w[i];
        CHECK(std::abs(y[i] - expected) <= 16 * kUnit * std::abs(expected) + 1e-33);
      }
      kernels->rms_norm(y.data(), x.data(), w.data(), 1e-5F, n);
      const double root = std::sqrt(dot_of(x.data(), x.data(), n).value / static_cast<double>(n) + 1e-5);
      for (std::size_t i = 0; i < count; ++i) {
        CHECK(std::abs(y[i] - x[i] / root * w[i]) <=
              (static_cast<double>(n) / 2 + 8) * kUnit * std::abs(x[i] / root * w[i]));
      }
      y = x;
      kernels->scale(-3.0F, y.data(), n);
      for (std::size_t i = 0; i < count; ++i) CHECK(y[i] == -3.0F * x[i]);
    }
  }
}

TEST_CASE("vector kernels: gelu, layer_norm, scores with a bias") {
  std::mt19937 random(5);
  for (const auto& [isa, kernels] : tables()) {
    for (const std::int64_t n : {1, 3, 8, 50, 257}) {
      INFO(isa, ", n ", n);
      const std::vector<float> x = random_vector(n, random, 4);
      const std::vector<float> w = random_vector(n, random);
      const std::vector<float> b = random_vector(n, random);
      const auto count = static_cast<std::size_t>(n);
      std::vector<float> y(count);
      kernels->gelu(y.data(), x.data(), n);
      for (std::size_t i = 0; i < count; ++i) {
        const double v = static_cast<double>(x[i]);
        const double expected = v * std::erfc(-v / std::sqrt(2.0)) / 2;
        CHECK(std::abs(y[i] - expected) <= (20 + 3 * v * v / 2) * kUnit * std::abs(expected) + 1e-36);
      }
      kernels->layer_norm(y.data(), x.data(), w.data(), b.data(), 0.1F, n);
      double mean = 0;
      double squares = 0;
      for (const float value : x) mean += static_cast<double>(value) / static_cast<double>(n);
      for (const float value : x) squares += (value - mean) * (value - mean) / static_cast<double>(n);
      for (std::size_t i = 0; i < count; ++i) {
        // Differences and variance from sums of n numbers of size about 4.
        const double expected = (x[i] - mean) / std::sqrt(squares + 0.1) * w[i] + b[i];
        CHECK(std::abs(y[i] - expected) <= static_cast<double>(n + 20) * kUnit * 100);
      }
      y = x;
      const float maximum = kernels->scale_add_max(0.5F, b.data(), y.data(), n);
      CHECK(maximum == *std::max_element(y.begin(), y.end()));
      for (std::size_t i = 0; i < count; ++i) {
        CHECK(std::abs(y[i] - (0.5 * x[i] + b[i])) <= kUnit * (std::abs(x[i]) + std::abs(b[i])));
      }
    }
  }
}

}  // namespace spqr
