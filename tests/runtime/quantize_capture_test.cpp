// The backend that watches: second moments against their definition, and that it changes nothing.
#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <vector>

#include "runtime/capture_backend.h"
#include "tests/runtime/random_values.h"

namespace spqr {
namespace {

// 2/N sum x x^T in double.
std::vector<double> naive_moments(const std::vector<float>& x, std::int64_t n) {
  const auto width = static_cast<std::size_t>(n);
  const std::size_t tokens = x.size() / width;
  std::vector<double> h(width * width);
  for (std::size_t t = 0; t < tokens; ++t) {
    for (std::size_t i = 0; i < width; ++i) {
      for (std::size_t j = 0; j < width; ++j) {
        h[i * width + j] += 2.0 * x[t * width + i] * x[t * width + j] / static_cast<double>(tokens);
      }
    }
  }
  return h;
}

// f32 sums of N products of size about 1 are off by less than N eps relative to N, before the division by N.
void check_moments(const std::vector<float>& found, const std::vector<double>& expected) {
  REQUIRE(found.size() == expected.size());
  double worst = 0;
  for (std::size_t i = 0; i < found.size(); ++i) worst = std::max(worst, std::abs(found[i] - expected[i]));
  CHECK(worst < 1e-5);
}

TEST_CASE("second moments: of any width, over several sequences, symmetric") {
  for (const std::int64_t n : {1, 5, 384, 500}) {
    CAPTURE(n);
    const std::vector<float> x = random_values(static_cast<std::size_t>(40 * n), static_cast<unsigned>(n));
    SecondMoments moments(n);
    moments.add(x.data(), 25);
    moments.add(x.data() + 25 * n, 15);
    CHECK(moments.tokens() == 40);
    const std::vector<float> h = moments.take();
    check_moments(h, naive_moments(x, n));
    for (std::int64_t i = 0; i < n; ++i) {
      for (std::int64_t j = 0; j < i; ++j) {
        REQUIRE(h[static_cast<std::size_t>(i * n + j)] == h[static_cast<std::size_t>(j * n + i)]);
      }
    }
  }
}

struct Layer {
  std::vector<float> weight;
  LinearGroup group;
  Layer(std::int64_t m, std::int64_t n, unsigned seed)
      : weight(random_values(static_cast<std::size_t>(m * n), seed)) {
    group.members.push_back({.weight = TensorView{weight.data(), DType::f32, {m, n}}, .bias = {}});
  }
};

TEST_CASE(
    "capture backend: sees the normed input of linear_group and the input of linear_add, and forwards both") {
  constexpr std::int64_t kTokens = 12;
  constexpr std::int64_t kWidth = 20;
  const std::unique_ptr<Backend> reference = make_backend("reference", {});
  CaptureBackend watching(*reference);
  const Layer first(kWidth, kWidth, 1);
  const Layer second(kWidth, kWidth, 2);
  const std::vector<float> gains = random_values(kWidth, 3);
  const std::vector<float> offsets = random_values(kWidth, 5);
  Norm norm{gains, 1e-5F};
  SUBCASE("RMSNorm") {}
  SUBCASE("LayerNorm") {
    norm.bias = offsets;
  }
  const std::vector<float> input = random_values(kTokens * kWidth, 4);

  const auto run = [&](Backend& backend, std::vector<float>& x, std::vector<float>& y) {
    const Matrix mx{x.data(), kTokens, kWidth};
    const Matrix my{y.data(), kTokens, kWidth};
    backend.linear_group(std::array{my}, first.group, mx, &norm);
    backend.gelu(my, my);
    backend.layer_norm(my, my, {gains, 1e-5F, offsets});
    backend.linear_add(mx, second.group, my);
    backend.gelu(mx, mx);
    backend.layer_norm(mx, mx, {gains, 1e-5F, offsets});
  };
  std::vector<float> x = input;
  std::vector<float> y(input.size());
  run(*reference, x, y);

  SecondMoments group_input(kWidth);
  SecondMoments add_input(kWidth);
  watching.watch({&group_input, &add_input});
  std::vector<float> watched_x = input;
  std::vector<float> watched_y(input.size());
  run(watching, watched_x, watched_y);
  CHECK(watched_y == y);
  CHECK(watched_x == input);  // the last watched call has nothing left to compute

  std::vector<float> normed(input.size());
  std::vector<float> copy = input;
  reference->normalize({normed.data(), kTokens, kWidth}, {copy.data(), kTokens, kWidth}, norm);
  check_moments(group_input.take(), naive_moments(normed, kWidth));
  const std::vector<float> h = add_input.take();
  const std::vector<double> expected = naive_moments(y, kWidth);
  for (std::size_t i = 0; i < h.size(); ++i)
    CHECK(h[i] == doctest::Approx(expected[i]).epsilon(1e-4).scale(1));

  watching.stop();
  watched_x = input;
  run(watching, watched_x, watched_y);
  CHECK(watched_x == x);
  CHECK(watched_y == y);
}

}  // namespace
}  // namespace spqr
