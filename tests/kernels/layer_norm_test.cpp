#include <doctest/doctest.h>

#include <array>

#include "tests/kernels/operands.h"

namespace spqr {
namespace {

// y = (x - mean) / sqrt(variance + eps) * weight + bias. A sum of n numbers is off by at most n roundings of
// the sum of their sizes: so the mean by `shift`, and with it every difference; the root of the variance by
// half as many of itself as its sum has terms, and by what the shift does to it.
Expected layer_norm(const std::vector<float>& x, const std::vector<float>& weight,
                    const std::vector<float>& bias, float eps) {
  const std::size_t n = weight.size();
  Expected expected;
  for (std::size_t begin = 0; begin < x.size(); begin += n) {
    double mean = 0;
    double size = 0;
    for (std::size_t i = 0; i < n; ++i) {
      mean += static_cast<double>(x[begin + i]) / static_cast<double>(n);
      size += std::abs(static_cast<double>(x[begin + i])) / static_cast<double>(n);
    }
    double variance = 0;
    for (std::size_t i = 0; i < n; ++i) {
      variance += (x[begin + i] - mean) * (x[begin + i] - mean) / static_cast<double>(n);
    }
    const double root = std::sqrt(variance + static_cast<double>(eps));
    const double shift = static_cast<double>(n + 1) * kUnit * size;
    for (std::size_t i = 0; i < n; ++i) {
      const double difference = (x[begin + i] - mean) / root;
      expected.values.push_back(difference * weight[i] + bias[i]);
      const double relative = (static_cast<double>(n) / 2 + 10) * kUnit + shift * shift / (root * root);
      const double error = std::abs(difference) * relative + (shift + 2 * kUnit * size) / root;
      expected.tolerances.push_back(std::abs(weight[i]) * error +
                                    2 * kUnit * (std::abs(expected.values.back()) + std::abs(bias[i])));
    }
  }
  return expected;
}

void check_layer_norm(const std::string& what, std::int64_t tokens, const std::vector<float>& x,
                      const std::vector<float>& weight, const std::vector<float>& bias, float eps) {
  const auto size = static_cast<std::int64_t>(weight.size());
  for (const bool in_place : {false, true}) {
    check_backends(what, layer_norm(x, weight, bias, eps), [&](Backend& backend) {
      const Activations in(backend, tokens, size, x);
      const Activations out(backend, tokens, size);
      const Activations& to = in_place ? in : out;
      backend.layer_norm(to.matrix(), in.matrix(), backend.place(Norm{weight, eps, bias}));
      return to.values();
    });
  }
}

}  // namespace

TEST_CASE("layer_norm: any size, in place and not, with a mean far from zero") {
  std::mt19937 random(1);
  for (const std::int64_t tokens : {1, 2, 37}) {
    for (const std::int64_t size : {1, 7, 8, 64, 129, 2048}) {
      const std::vector<float> weight = random_vector(size, random);
      const std::vector<float> bias = random_vector(size, random);
      for (const float mean : {0.0F, 20.0F}) {
        std::vector<float> x = random_vector(tokens * size, random, 3);
        for (float& value : x) value += mean;
        for (const float eps : {1e-5F, 0.5F}) {
          check_layer_norm(fmt::format("{} x {} around {}", tokens, size, mean), tokens, x, weight, bias,
                           eps);
        }
      }
    }
  }
}

TEST_CASE("layer_norm: sizes around those of warps and blocks") {
  std::mt19937 random(3);
  const std::int64_t tokens = 5;
  for (const std::int64_t size : {31, 32, 33, 128, 255, 256, 257, 260, 1023, 1024, 1025, 4097, 8192}) {
    std::vector<float> x = random_vector(tokens * size, random, 3);
    for (float& value : x) value += 10;
    const std::vector<float> weight = random_vector(size, random);
    check_layer_norm(fmt::format("{} x {}", tokens, size), tokens, x, weight, random_vector(size, random),
                     1e-5F);
  }
}

TEST_CASE("layer_norm of equal numbers is the bias") {
  const std::vector<float> bias = {1, -2, 0.5F, 4, 5};
  check_layer_norm("equal", 1, std::vector<float>(5, 3), std::vector<float>(5, 2), bias, 1e-5F);
}

TEST_CASE("linear_group: the norm of its input may be either") {
  std::mt19937 random(2);
  const std::int64_t tokens = 3;
  const std::int64_t n = 40;
  const std::vector<float> x = random_vector(tokens * n, random);
  const std::vector<float> weight = random_vector(n, random);
  const std::vector<float> bias = random_vector(n, random);
  std::vector<float> identity(static_cast<std::size_t>(n * n));
  for (std::int64_t i = 0; i < n; ++i) identity[static_cast<std::size_t>(i * n + i)] = 1;
  check_backends("identity", layer_norm(x, weight, bias, 1e-5F), [&](Backend& backend) {
    const Activations in(backend, tokens, n, x);
    const Activations out(backend, tokens, n);
    LinearGroup group;
    group.members.push_back({.weight = TensorView{identity.data(), DType::f32, {n, n}}, .bias = {}});
    const LinearGroup placed = backend.place(group);
    const Norm norm = backend.place(Norm{weight, 1e-5F, bias});
    backend.linear_group(std::array{out.matrix()}, placed, in.matrix(), &norm);
    return out.values();
  });
}

}  // namespace spqr
