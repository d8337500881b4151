// The reference engine's results on whole matrices: statistics, outliers, damping, order of columns, ragged
// groups.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>

#include "kernels/spqr_matrix.h"
#include "kernels/threads.h"
#include "quantizer_cases.h"
#include "tests/test_data.h"

namespace spqr {

namespace {

// Share of entries equal to 1e-3 of their row's largest weight.
double equal_share(const QuantizerCase& given, const std::vector<float>& ours) {
  std::int64_t equal = 0;
  for (std::int64_t i = 0; i < given.m; ++i) {
    float largest = 0.0F;
    for (std::int64_t j = 0; j < given.n; ++j)
      largest = std::max(largest, std::abs(given.w[i * given.n + j]));
    for (std::int64_t j = 0; j < given.n; ++j) {
      const std::int64_t k = i * given.n + j;
      equal += std::abs(ours[k] - given.dequantized[k]) <= 1e-3F * largest ? 1 : 0;
    }
  }
  return static_cast<double>(equal) / static_cast<double>(given.w.size());
}

// The engine works in f32 throughout, we round statistics to the f16 of the file: neither moves a rounding
// often.
void check_case(const std::filesystem::path& path) {
  const QuantizerCase given = read_quantizer_case(path);
  CAPTURE(given.name);
  const Hessian hessian = prepare_hessian(given.h, given.n, given.options.permutation, given.options.damp);
  const SpqrParts parts = quantize_spqr(given.w, given.m, given.n, hessian, given.options);
  const std::vector<float> ours = decode_parts(parts);

  CHECK(dequantize(parts) == ours);
  SpqrParts stored = unpack(pack(parts).view());
  stored.perm = parts.perm;
  CHECK(decode_parts(stored) == ours);  // nothing is left to round when a matrix is packed

  const double error = relative_error(given.w, ours, given.h, given.m, given.n);
  const double equal = equal_share(given, ours);
  const auto outliers = static_cast<std::int64_t>(parts.values.size());
  INFO("relative error " << error << ", engine's " << given.relative_error << "; outliers " << outliers
                         << ", engine's " << given.outliers << "; equal " << equal);
  CHECK(error <= 1.02 * given.relative_error);
  CHECK(static_cast<double>(std::abs(outliers - given.outliers)) <=
        std::max(3.0, 0.05 * static_cast<double>(given.outliers)));
  CHECK(equal >= (given.options.damp < 0.1 ? 0.80 : 0.99));
}

const char* const kSettings[] = {"gptq3-group32",    "gptq4-perchannel",    "spqr2-16x16-many-outliers",
                                 "spqr3-16x16",      "spqr3-8x8",           "spqr3-no-outliers",
                                 "spqr3-simplified", "spqr4-16x16-identity"};

std::vector<float> random_weights(std::int64_t size, float scale, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0.0F, scale);
  std::vector<float> w(static_cast<std::size_t>(size));
  for (float& x : w) x = normal(generator);
  return w;
}

// X^T X of more random inputs than columns: as a Hessian, positive definite and far from diagonal.
std::vector<float> random_hessian(std::int64_t n, unsigned seed) {
  const std::int64_t inputs = 2 * n;
  std::vector<float> x = random_weights(inputs * n, 1.0F, seed);
  for (std::int64_t t = 0; t < inputs; ++t) {
    for (std::int64_t j = 1; j < n; ++j) x[t * n + j] += 0.7F * x[t * n + j - 1];
  }
  std::vector<float> h(static_cast<std::size_t>(n * n));
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j < n; ++j) {
      for (std::int64_t t = 0; t < inputs; ++t) {
        h[i * n + j] += x[t * n + i] * x[t * n + j] / static_cast<float>(n);
      }
    }
  }
  return h;
}

double error_of(const SpqrParts& parts, const std::vector<float>& w, const std::vector<float>& h) {
  return relative_error(w, decode_parts(parts), h, parts.m, parts.n);
}

QuantizeOptions plain(int bits, std::int64_t beta1, int beta2, double threshold) {
  QuantizeOptions options;
  options.format = {.bits = bits, .beta1 = beta1, .beta2 = beta2, .scale_bits = 3, .zero_bits = 3};
  options.outlier_threshold = threshold;
  options.damp = 0.1;
  return options;
}

constexpr double kNoOutliers = std::numeric_limits<double>::infinity();

}  // namespace

TEST_CASE("quantize_spqr agrees with the reference engine on a wide matrix with planted outliers") {
  for (const std::string settings : kSettings) {
    check_case(std::filesystem::path(SPQR_FIXTURES) / "quantizer" / ("wide-" + settings + ".safetensors"));
  }
}

TEST_CASE("quantize_spqr agrees with the reference engine on a trained model's matrices") {
  for (const std::string matrix : {"k_proj", "gate_proj"}) {
    for (const std::string settings : kSettings) {
      const auto path = test_data("quantizer/" + matrix + "-" + settings + ".safetensors");
      if (!path) return;
      check_case(*path);
    }
  }
}

TEST_CASE("every shape and format decodes to weights near the given ones") {
  struct Shape {
    std::int64_t m, n;
  };
  for (const Shape shape : {Shape{1, 1}, Shape{1, 40}, Shape{33, 1}, Shape{17, 130}, Shape{70, 65}}) {
    const auto w = random_weights(shape.m * shape.n, 0.02F, 1);
    const auto h = random_hessian(shape.n, 2);
    const Hessian hessian = prepare_hessian(h, shape.n, PermutationOrder::act_order, 0.1);
    for (const int bits : {2, 3, 4, 5, 6, 7, 8}) {
      for (const std::int64_t beta1 :
           {std::int64_t{8}, std::int64_t{16}, std::int64_t{128}, SpqrFormat::kWholeRow}) {
        for (const bool quantized : {true, false}) {
          QuantizeOptions options = plain(bits, beta1, 64, bits % 2 == 0 ? 0.2 : kNoOutliers);
          options.round_zero = bits == 4;
          options.format.scale_bits = options.format.zero_bits = quantized ? bits : SpqrFormat::kUnquantized;
          const SpqrParts parts = quantize_spqr(w, shape.m, shape.n, hessian, options);
          CAPTURE(shape.m);
          CAPTURE(shape.n);
          CAPTURE(bits);
          CAPTURE(beta1);
          CAPTURE(quantized);
          // A group of one weight is fitted as if its range were [-1, 1], as in the reference implementation.
          if (shape.n > 1 && shape.n % 8 != 1) CHECK(error_of(parts, w, h) < (bits == 2 ? 0.5 : 0.2));
          for (const std::uint8_t code : parts.codes) CHECK_MESSAGE(code < (1 << bits), "code out of range");
        }
      }
    }
  }
}

TEST_CASE("zero rows, zero groups and dead columns decode to zero and do not disturb their neighbours") {
  constexpr std::int64_t m = 32;
  constexpr std::int64_t n = 64;
  auto h = random_hessian(n, 3);
  for (std::int64_t j = 16; j < 32; ++j) {
    for (std::int64_t i = 0; i < n; ++i) h[i * n + j] = h[j * n + i] = 0.0F;
  }
  auto w = random_weights(m * n, 0.01F, 4);
  const Hessian hessian = prepare_hessian(h, n, PermutationOrder::identity, 0.1);
  const double before = error_of(quantize_spqr(w, m, n, hessian, plain(4, 16, 16, 0.2)), w, h);
  for (std::int64_t j = 0; j < n; ++j) w[5 * n + j] = 0.0F;
  const SpqrParts parts = quantize_spqr(w, m, n, hessian, plain(4, 16, 16, 0.2));
  const auto decoded = decode_parts(parts);
  for (std::int64_t j = 0; j < n; ++j) CHECK(decoded[5 * n + j] == 0.0F);
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t j = 16; j < 32; ++j) CHECK(decoded[i * n + j] == 0.0F);
  }
  CHECK(error_of(parts, w, h) < 1.3 * before);
}

TEST_CASE("a narrow group far from zero, or of a single value, does not coarsen its neighbours") {
  constexpr std::int64_t kSize = 64;
  const auto h = random_hessian(kSize, 2);
  const Hessian hessian = prepare_hessian(h, kSize, PermutationOrder::identity, 0.1);
  const QuantizeOptions options = plain(3, 8, 64, 0.2);
  const auto w = random_weights(kSize * kSize, 0.02F, 1);
  const double usual = error_of(quantize_spqr(w, kSize, kSize, hessian, options), w, h);
  for (const float step : {0.0F, 1e-5F}) {
    auto with_narrow = w;
    for (std::int64_t j = 0; j < 8; ++j) with_narrow[5 * kSize + j] = 0.05F + step * static_cast<float>(j);
    const double error = error_of(quantize_spqr(with_narrow, kSize, kSize, hessian, options), with_narrow, h);
    CAPTURE(step);
    CHECK(error < 1.1 * usual);
  }
}

TEST_CASE("the result does not depend on the scale of the weights") {
  constexpr std::int64_t m = 48;
  constexpr std::int64_t n = 96;
  const auto h = random_hessian(n, 5);
  const Hessian hessian = prepare_hessian(h, n, PermutationOrder::act_order, 1.0);
  auto w = random_weights(m * n, 0.02F, 6);
  const SpqrParts parts = quantize_spqr(w, m, n, hessian, plain(3, 16, 16, kNoOutliers));
  for (float& x : w) x *= 0x1p-10F;
  const SpqrParts tiny = quantize_spqr(w, m, n, hessian, plain(3, 16, 16, kNoOutliers));
  CHECK(tiny.codes == parts.codes);
  CHECK(tiny.scale_codes == parts.scale_codes);
  CHECK(tiny.zero_codes == parts.zero_codes);
}

TEST_CASE("a lower threshold keeps more outliers and loses less") {
  constexpr std::int64_t m = 64;
  constexpr std::int64_t n = 128;
  const auto h = random_hessian(n, 7);
  auto w = random_weights(m * n, 0.02F, 8);
  for (std::int64_t k = 0; k < m * n; k += 97) w[k] *= 10.0F;
  const Hessian hessian = prepare_hessian(h, n, PermutationOrder::act_order, 1.0);
  std::size_t outliers = 0;
  double error = std::numeric_limits<double>::infinity();
  for (const double threshold : {kNoOutliers, 1.0, 0.2, 0.05}) {
    const SpqrParts parts = quantize_spqr(w, m, n, hessian, plain(3, 16, 16, threshold));
    CHECK(parts.values.size() >= outliers);
    CHECK(parts.row_offsets.empty() == parts.values.empty());
    CHECK(error_of(parts, w, h) < error);
    outliers = parts.values.size();
    error = error_of(parts, w, h);
  }
  CHECK(outliers > 50);
}

TEST_CASE("the result does not depend on the number of threads") {
  constexpr std::int64_t m = 200;
  constexpr std::int64_t n = 300;
  const auto h = random_hessian(n, 9);
  const auto w = random_weights(m * n, 0.02F, 10);
  set_threads(1);
  const Hessian one = prepare_hessian(h, n, PermutationOrder::act_order, 0.01);
  const SpqrParts from_one = quantize_spqr(w, m, n, one, plain(3, 16, 16, 0.2));
  set_threads(3);
  const Hessian three = prepare_hessian(h, n, PermutationOrder::act_order, 0.01);
  const SpqrParts from_three = quantize_spqr(w, m, n, three, plain(3, 16, 16, 0.2));
  set_threads(0);
  CHECK(one.inverse_factor == three.inverse_factor);
  CHECK(from_one.codes == from_three.codes);
  CHECK(from_one.scale_scale == from_three.scale_scale);
  CHECK(from_one.columns == from_three.columns);
  CHECK(from_one.values == from_three.values);
}

TEST_CASE("quantize_spqr refuses what it cannot quantize") {
  const auto h = random_hessian(16, 11);
  auto w = random_weights(8 * 16, 0.02F, 12);
  const Hessian hessian = prepare_hessian(h, 16, PermutationOrder::act_order, 1.0);
  const QuantizeOptions options = plain(3, 16, 16, 0.2);
  CHECK_THROWS_AS(quantize_spqr(w, 4, 16, hessian, options), std::invalid_argument);
  CHECK_THROWS_AS(quantize_spqr(w, 16, 8, hessian, options), std::invalid_argument);
  CHECK_THROWS_AS(quantize_spqr(w, 0, 16, hessian, options), std::invalid_argument);
  CHECK_THROWS_AS(quantize_spqr(w, 8, 16, hessian, plain(9, 16, 16, 0.2)), std::invalid_argument);
  CHECK_THROWS_AS(quantize_spqr(w, 8, 16, hessian, plain(3, 16, 16, std::nan(""))), std::invalid_argument);
  w[3 * 16 + 5] = std::numeric_limits<float>::quiet_NaN();
  CHECK_THROWS_WITH(quantize_spqr(w, 8, 16, hessian, options),
                    "the weight matrix contains NaN at row 3, column 5: it cannot be quantized");
}

}  // namespace spqr
