// Products with packed weights on every backend: formats, edges, outliers and values that a kernel may
// stumble over. linear_test.cpp has what all kinds of weights have in common.
#include <algorithm>
#include <limits>
#include <memory>

#include <doctest/doctest.h>

#include "tests/kernels/random_linear.h"

namespace spqr {
namespace {

using Permutation = std::vector<std::uint32_t>;

std::unique_ptr<RandomLinear> linear_of(const SpqrParts& parts, const Permutation& perm,
                                        std::mt19937& random) {
  auto w = std::make_unique<RandomLinear>();
  make_packed(*w, parts, perm);
  w->linear.bias = w->bias = random_vector(parts.m, random);
  return w;
}

// W x + b. A sum of n products in f32, in any order, is off by at most n + 1 roundings of the sum of their
// sizes; s and z are rounded six times, bias and store twice.
Expected expected_product(const RandomLinear& w, const std::vector<float>& x, std::int64_t tokens) {
  const std::int64_t m = w.linear.m();
  const std::int64_t n = w.linear.n();
  Expected expected;
  for (std::int64_t t = 0; t < tokens; ++t) {
    for (std::int64_t i = 0; i < m; ++i) {
      double sum = static_cast<double>(w.bias[static_cast<std::size_t>(i)]);
      double size = std::abs(sum);
      for (std::int64_t j = 0; j < n; ++j) {
        const double input = x[static_cast<std::size_t>(t * n + j)];
        sum += w.values[static_cast<std::size_t>(i * n + j)] * input;
        size += w.sizes[static_cast<std::size_t>(i * n + j)] * std::abs(input);
      }
      expected.values.push_back(sum);
      expected.tolerances.push_back(static_cast<double>(n + 9) * kUnit * size);
    }
  }
  return expected;
}

std::vector<float> product_on(Backend& backend, const RandomLinear& w, const Permutation& perm,
                              const std::vector<float>& x, std::int64_t tokens) {
  const Activations in(backend, tokens, w.linear.n(), x);
  const Activations out(backend, tokens, w.linear.m());
  const LinearGroup placed = backend.place(LinearGroup{{w.linear}, perm});
  const Matrix y = out.matrix();
  backend.linear_group({&y, 1}, placed, in.matrix(), nullptr);
  std::vector<float> values = out.values();
  // Whatever a kernel keeps between calls is as it was.
  const Activations again(backend, tokens, w.linear.m());
  const Matrix y_again = again.matrix();
  backend.linear_group({&y_again, 1}, placed, in.matrix(), nullptr);
  CHECK(again.values() == values);
  return values;
}

void check_product(const RandomLinear& w, const Permutation& perm, const std::vector<float>& x,
                   std::int64_t tokens, const std::string& what) {
  const Expected expected = expected_product(w, x, tokens);
  for (const auto& [name, isa] : all_backends()) {
    const auto backend = make_backend(name, {.threads = 2, .activations = ActivationType::f32, .isa = isa});
    check_close(product_on(*backend, w, perm, x, tokens), expected,
                fmt::format("{} ({}), {}, {} tokens", name, isa, what, tokens));
  }
}

// Random weights of a format, a permutation, and activations of about `size`.
void check_format(const SpqrFormat& format, std::int64_t m, std::int64_t n, std::int64_t tokens,
                  Outliers outliers, std::mt19937& random, float size = 1) {
  const SpqrParts parts = random_parts(format, m, n, outliers, random);
  const Permutation perm = random() % 2 == 0 ? random_permutation(n, random) : Permutation{};
  const auto w = linear_of(parts, perm, random);
  check_product(*w, perm, random_vector(tokens * n, random, size), tokens, describe(parts, outliers));
}

// Outliers of one row in all columns, of others in none.
SpqrParts with_outliers_in(SpqrParts parts, std::int64_t outlier_row, std::mt19937& random) {
  std::normal_distribution<float> value;
  parts.row_offsets = {0};
  for (std::int64_t row = 0; row < parts.m; ++row) {
    for (std::int64_t column = 0; row == outlier_row && column < parts.n; ++column) {
      parts.columns.push_back(static_cast<std::uint16_t>(column));
      parts.values.push_back(round_to_f16(value(random)));
    }
    parts.row_offsets.push_back(static_cast<std::uint32_t>(parts.columns.size()));
  }
  return parts;
}

}  // namespace

TEST_CASE("packed linear: every bits, beta1 and beta2, with one, eight and nine tokens") {
  std::mt19937 random(1);
  int which = 0;
  for (int bits = 2; bits <= 8; ++bits) {
    for (const std::int64_t beta1 : {8, 16, 32, 64, 128, 0}) {
      for (const int beta2 : {8, 16, 32, 64}) {
        SpqrFormat format = {bits, beta1, beta2, 2 + which % 7, 2 + which / 2 % 7};
        if (which % 5 == 0) format.scale_bits = format.zero_bits = SpqrFormat::kUnquantized;
        constexpr std::int64_t kTokens[] = {1, 8, 9};
        check_format(format, 70, 135 + bits, kTokens[which % 3], static_cast<Outliers>(which % 2), random);
        ++which;
      }
    }
  }
}

TEST_CASE("packed linear: edges of tiles, strips, blocks and panels") {
  std::mt19937 random(2);
  int which = 0;
  for (const std::int64_t n : {1, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 72, 80, 127, 129}) {
    for (const std::int64_t m : {1, 15, 17, 63, 64, 65}) {
      constexpr std::int64_t kTokens[] = {1, 2, 3, 5, 8, 9, 17};
      const std::int64_t beta1 = which % 2 == 0 ? 8 : which % 4 == 1 ? 16 : SpqrFormat::kWholeRow;
      check_format({3, beta1, 16, 3, 3}, m, n, kTokens[which % 7], static_cast<Outliers>(which % 3), random);
      ++which;
    }
  }
}

TEST_CASE("packed linear: tokens beyond a tile and beyond what is worked on at once") {
  std::mt19937 random(3);
  for (const std::int64_t tokens : {63, 64, 65, 130, 257}) {
    check_format({3, 16, 16, 3, 3}, 67, 90, tokens, Outliers::some, random);
  }
}

TEST_CASE("packed linear: few strips of many columns, which blocks share") {
  std::mt19937 random(4);
  for (const std::int64_t tokens : {1, 4, 8}) {
    check_format({3, 16, 16, 3, 3}, 64, 4000, tokens, Outliers::some, random);
    check_format({4, 8, 32, 4, 4}, 100, 1100, tokens, Outliers::none, random);
    check_format({4, 0, 32, 4, 4}, 1, 2050, tokens, Outliers::everywhere, random);
  }
}

TEST_CASE("packed linear: outliers all in one row, and all weights outliers") {
  std::mt19937 random(5);
  const SpqrFormat format = {3, 16, 16, 3, 3};
  for (const std::int64_t tokens : {1, 3, 9, 70}) {
    for (const std::int64_t row : {0, 70, 129}) {
      const SpqrParts parts =
          with_outliers_in(random_parts(format, 130, 700, Outliers::none, random), row, random);
      const Permutation perm = random_permutation(700, random);
      const auto w = linear_of(parts, perm, random);
      check_product(*w, perm, random_vector(tokens * 700, random), tokens,
                    fmt::format("outliers in row {}", row));
    }
    check_format(format, 65, 333, tokens, Outliers::everywhere, random);
  }
}

TEST_CASE("packed linear: large, small and cancelling activations") {
  std::mt19937 random(6);
  const SpqrFormat format = {4, 32, 16, 4, 4};
  for (const std::int64_t tokens : {1, 10}) {
    for (const float size : {1e4F, 1e-6F, 1e-20F, 1e20F}) {
      check_format(format, 66, 150, tokens, Outliers::some, random, size);
    }
    const SpqrParts parts = random_parts(format, 66, 150, Outliers::some, random);
    const auto w = linear_of(parts, {}, random);
    std::vector<float> x = random_vector(tokens * 150, random);
    for (std::size_t i = 0; i < x.size(); i += 3) x[i] *= 1e4F;  // some channels are much larger than others
    check_product(*w, {}, x, tokens, "large channels");
    for (std::size_t i = 0; i + 1 < x.size(); i += 2) x[i + 1] = -x[i] * (1 + 1e-5F);
    check_product(*w, {}, x, tokens, "pairs that nearly cancel");
  }
}

// Whole numbers, and sums of sizes below 2^24: no f32 arithmetic rounds any of it, so nothing may be off. x
// has 12 bits, one more than an f16 holds.
TEST_CASE("packed linear: whole numbers are exact") {
  std::mt19937 random(7);
  for (const std::int64_t beta1 : {8, 16, 64, 0}) {
    for (const std::int64_t tokens : {1, 8, 9}) {
      SpqrParts parts = random_parts({3, beta1, 16, 3, 3}, 80, 100, Outliers::some, random);
      const auto whole = [&](std::vector<float>& values, int least, int most) {
        for (float& value : values)
          value = static_cast<float>(least + static_cast<int>(random() % (most - least + 1)));
      };
      whole(parts.scale_scale, 1, 2);
      whole(parts.scale_zero, -3, 3);
      whole(parts.zero_scale, 1, 1);
      whole(parts.zero_zero, -3, 3);
      whole(parts.values, -50, 50);
      const auto w = linear_of(parts, {}, random);
      whole(w->bias, -9, 9);
      w->linear.bias = w->bias;
      std::vector<float> x(static_cast<std::size_t>(tokens * 100));
      whole(x, -400, 400);
      for (std::size_t i = 0; i < x.size(); i += 25) x[i] = 4095;
      Expected expected = expected_product(*w, x, tokens);
      for (const double tolerance : expected.tolerances)
        REQUIRE(tolerance < 109);  // 109 2^-24 sizes below 2^24
      std::fill(expected.tolerances.begin(), expected.tolerances.end(), 0.0);
      for (const auto& [name, isa] : all_backends()) {
        const auto backend =
            make_backend(name, {.threads = 1, .activations = ActivationType::f32, .isa = isa});
        check_close(product_on(*backend, *w, {}, x, tokens), expected,
                    fmt::format("{} ({}), beta1 {}, {} tokens", name, isa, beta1, tokens));
      }
    }
  }
}

TEST_CASE("packed linear: what is not a number stays with its token") {
  std::mt19937 random(8);
  const auto w = linear_of(random_parts({3, 16, 16, 3, 3}, 70, 90, Outliers::some, random), {}, random);
  for (const std::int64_t tokens : {3, 12}) {
    for (const float bad :
         {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
      std::vector<float> x = random_vector(tokens * 90, random);
      x[90 + 33] = bad;
      for (const auto& [name, isa] : all_backends()) {
        const auto backend =
            make_backend(name, {.threads = 1, .activations = ActivationType::f32, .isa = isa});
        const Activations in(*backend, tokens, 90, x);
        const Activations out(*backend, tokens, 70);
        const Matrix y = out.matrix();
        backend->linear_group({&y, 1}, backend->place(LinearGroup{{w->linear}, {}}), in.matrix(), nullptr);
        const std::vector<float> values = out.values();
        for (std::size_t i = 0; i < values.size(); ++i) {
          INFO(name, " (", isa, "), ", bad, ", ", tokens, " tokens, value ", i);
          REQUIRE(std::isfinite(values[i]) == (i / 70 != 1));
        }
      }
    }
  }
}

// cuda multiplies many tokens in f16 with sums in f32: x and the weights are rounded by 2^-11 of themselves
// each, outliers are not; what lies 2^-28 below the largest of a token or a strip is rounded by 2^-39 of
// that.
TEST_CASE("packed linear: cuda, many tokens with activations `automatic`") {
  std::mt19937 random(9);
  for (const auto& [name, isa] : all_backends()) {
    if (name != "cuda") continue;
    for (int i = 0; i < 40; ++i) {
      const auto m = static_cast<std::int64_t>(1 + random() % 150);
      const auto n = static_cast<std::int64_t>(1 + random() % 200);
      const std::int64_t tokens = 9 + static_cast<std::int64_t>(random() % 30);
      const auto outliers = static_cast<Outliers>(i % 3);
      const SpqrParts parts = random_parts(random_format(random), m, n, outliers, random);
      const auto w = linear_of(parts, {}, random);
      SpqrParts dense = parts;
      dense.row_offsets.clear();
      const std::vector<float> weights = dequantize(dense);
      const std::vector<float> x = random_vector(tokens * n, random, i % 4 == 0 ? 1e4F : 1);
      Expected expected = expected_product(*w, x, tokens);
      const auto size_of_largest = [](const std::vector<float>& values) {
        float largest = 0;
        for (const float value : values) largest = std::max(largest, std::abs(value));
        return static_cast<double>(largest);
      };
      const double smallest =
          0x1p-36 * size_of_largest(weights) * size_of_largest(x) * static_cast<double>(n);
      for (std::size_t at = 0; at < expected.values.size(); ++at) {
        double rounding = smallest;
        for (std::int64_t j = 0; j < n; ++j) {
          const auto row = static_cast<std::int64_t>(at) % m;
          const auto token = static_cast<std::int64_t>(at) / m;
          rounding +=
              0x1.01p-10 * std::abs(static_cast<double>(weights[static_cast<std::size_t>(row * n + j)]) *
                                    x[static_cast<std::size_t>(token * n + j)]);
        }
        expected.tolerances[at] += rounding;
      }
      const auto backend = make_backend("cuda", {});
      check_close(product_on(*backend, *w, {}, x, tokens), expected,
                  fmt::format("{}, {} tokens", describe(parts, outliers), tokens));
    }
  }
}

}  // namespace spqr
