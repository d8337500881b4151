// prepare_hessian and relative_error against their definitions.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "kernels/quantize/quantize.h"

namespace spqr {

namespace {

std::vector<float> random_positive_definite(std::int64_t n, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  std::vector<float> a(static_cast<std::size_t>(n * n));
  for (float& x : a) x = normal(generator);
  std::vector<float> h(a.size());
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j <= i; ++j) {
      double sum = 0.0;
      for (std::int64_t k = 0; k < n; ++k) sum += static_cast<double>(a[i * n + k]) * a[j * n + k];
      h[i * n + j] = h[j * n + i] = static_cast<float>(sum);
    }
  }
  return h;
}

// Largest entry of |U (damped, permuted H) U^T - 1|, which is 0 for U^T U = H^-1.
double identity_error(const Hessian& hessian, const std::vector<float>& h, double damp) {
  const std::int64_t n = hessian.n;
  const auto source = [&](std::int64_t j) -> std::int64_t {
    return hessian.perm.empty() ? j : hessian.perm[j];
  };
  double mean = 0.0;
  for (std::int64_t j = 0; j < n; ++j) mean += std::abs(h[j * n + j]) / static_cast<double>(n);
  const auto entry = [&](std::int64_t i, std::int64_t j) -> double {
    if (i == j && hessian.dead[i] != 0) return 1.0;
    return h[source(i) * n + source(j)] + (i == j ? damp * mean : 0.0);
  };
  std::vector<double> product(static_cast<std::size_t>(n * n));  // U H
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t k = i; k < n; ++k) {
      for (std::int64_t j = 0; j < n; ++j)
        product[i * n + j] += hessian.inverse_factor[i * n + k] * entry(k, j);
    }
  }
  double worst = 0.0;
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j < n; ++j) {
      double sum = i == j ? -1.0 : 0.0;
      for (std::int64_t k = j; k < n; ++k) sum += product[i * n + k] * hessian.inverse_factor[j * n + k];
      worst = std::max(worst, std::abs(sum));
    }
  }
  return worst;
}

}  // namespace

TEST_CASE("prepare_hessian gives the upper Cholesky factor of the inverse") {
  for (const std::int64_t n : {1, 2, 63, 64, 65, 130, 200}) {
    auto h = random_positive_definite(n, static_cast<unsigned>(n));
    if (n > 2) {
      for (std::int64_t i = 0; i < n; ++i) h[i * n + n / 2] = h[n / 2 * n + i] = 0.0F;
    }
    for (const auto order : {PermutationOrder::identity, PermutationOrder::act_order}) {
      const Hessian hessian = prepare_hessian(h, n, order, 0.01);
      CAPTURE(n);
      // U is rounded to f32; the rounding is amplified by at most the condition number, trace / damping = 100
      // n.
      CHECK(identity_error(hessian, h, 0.01) < 100.0 * static_cast<double>(n) * 0x1p-24);
      for (std::int64_t i = 0; i < n; ++i) {
        CHECK(hessian.inverse_factor[i * n + i] > 0.0F);
        for (std::int64_t j = 0; j < i; ++j) CHECK(hessian.inverse_factor[i * n + j] == 0.0F);
      }
    }
  }
}

TEST_CASE("act_order sorts by the diagonal, dead columns last, equal ones in their order") {
  const std::vector<float> diagonal = {2.0F, 0.0F, 5.0F, 2.0F, 0.0F, 7.0F};
  std::vector<float> h(36);
  for (std::size_t i = 0; i < 6; ++i) h[i * 7] = diagonal[i];
  const Hessian hessian = prepare_hessian(h, 6, PermutationOrder::act_order, 1.0);
  CHECK(hessian.perm == std::vector<std::uint32_t>{5, 2, 0, 3, 1, 4});
  CHECK(hessian.dead == std::vector<std::uint8_t>{0, 0, 0, 0, 1, 1});
  // The mean of the diagonal, zeros included, is 16 / 6; dead columns have exactly 1.
  CHECK(hessian.inverse_factor[0] == doctest::Approx(1.0 / std::sqrt(7.0 + 16.0 / 6.0)));
  CHECK(hessian.inverse_factor[4 * 7] == 1.0F);
  CHECK(prepare_hessian(h, 6, PermutationOrder::identity, 1.0).perm.empty());

  std::vector<float> same(100 * 100);
  std::vector<std::uint32_t> in_order(100);
  for (std::uint32_t i = 0; i < 100; ++i) {
    same[i * 101] = 3.0F;
    in_order[i] = i;
  }
  CHECK(prepare_hessian(same, 100, PermutationOrder::act_order, 1.0).perm == in_order);
}

TEST_CASE("prepare_hessian refuses what is not a Hessian") {
  std::vector<float> h = {1.0F, 2.0F, 2.0F, 1.0F};
  CHECK_THROWS_WITH(prepare_hessian(h, 2, PermutationOrder::identity, 0.01),
                    doctest::Contains("not positive definite with damp 0.01"));
  CHECK_NOTHROW(prepare_hessian(h, 2, PermutationOrder::identity, 1.5));
  CHECK_THROWS_AS(prepare_hessian(h, 3, PermutationOrder::identity, 0.01), std::invalid_argument);
  CHECK_THROWS_AS(prepare_hessian(h, 2, PermutationOrder::identity, -0.1), std::invalid_argument);
  h[1] = std::numeric_limits<float>::infinity();
  CHECK_THROWS_WITH(prepare_hessian(h, 2, PermutationOrder::identity, 0.01),
                    "the Hessian contains infinity at row 0, column 1: it cannot be quantized");
}

TEST_CASE("relative_error is tr(D H D^T) / tr(W H W^T)") {
  const std::vector<float> h = {2.0F, 1.0F, 1.0F, 3.0F};
  const std::vector<float> w = {1.0F, 2.0F, 0.0F, -1.0F};
  const std::vector<float> quantized = {1.5F, 2.0F, 0.0F, -3.0F};
  // D = (0.5, 0), (0, -2): 0.5 + 12; W: 2 + 4 + 12, 3.
  CHECK(relative_error(w, quantized, h, 2, 2) == doctest::Approx(12.5 / 21.0));
  CHECK(relative_error(std::vector<float>(4), quantized, h, 2, 2) == 0.0);
}

}  // namespace spqr
