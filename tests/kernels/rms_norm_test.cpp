#include <doctest/doctest.h>

#include "tests/kernels/operands.h"

namespace spqr {
namespace {

// y = x / sqrt(mean(x^2) + eps) * weight over runs of weight.size() values. Squares are positive, so that the
// sum of n of them is off by at most n roundings of itself, its root by half of that; eight more for the
// rest.
Expected rms_norm(const std::vector<float>& x, const std::vector<float>& weight, float eps) {
  const std::size_t n = weight.size();
  Expected expected;
  for (std::size_t begin = 0; begin < x.size(); begin += n) {
    double squares = 0;
    for (std::size_t i = 0; i < n; ++i) squares += static_cast<double>(x[begin + i]) * x[begin + i];
    const double root = std::sqrt(squares / static_cast<double>(n) + static_cast<double>(eps));
    for (std::size_t i = 0; i < n; ++i) {
      expected.values.push_back(x[begin + i] / root * weight[i]);
      expected.tolerances.push_back((static_cast<double>(n) / 2 + 8) * kUnit *
                                    std::abs(expected.values.back()));
    }
  }
  return expected;
}

}  // namespace

TEST_CASE("rms_norm: whole rows and vectors within them, in place and not") {
  std::mt19937 random(1);
  for (const std::int64_t tokens : {1, 2, 37}) {
    for (const std::int64_t size : {1, 7, 8, 64, 129, 2048}) {
      for (const std::int64_t vectors : {1, 3}) {
        const std::vector<float> x = random_vector(tokens * vectors * size, random, 3);
        const std::vector<float> weight = random_vector(size, random);
        for (const float eps : {1e-6F, 0.5F}) {
          for (const bool in_place : {false, true}) {
            check_backends(fmt::format("{} x {} x {}", tokens, vectors, size), rms_norm(x, weight, eps),
                           [&](Backend& backend) {
                             const Activations in(backend, tokens, vectors * size, x);
                             const Activations out(backend, tokens, vectors * size);
                             const Activations& to = in_place ? in : out;
                             backend.rms_norm(to.matrix(), in.matrix(), backend.place(Norm{weight, eps}));
                             return to.values();
                           });
          }
        }
      }
    }
  }
}

TEST_CASE("rms_norm: sizes around those of warps and blocks") {
  std::mt19937 random(2);
  const std::int64_t tokens = 5;
  for (const std::int64_t size : {31, 32, 33, 128, 255, 256, 257, 260, 1023, 1024, 1025, 4097, 8192}) {
    const std::vector<float> x = random_vector(tokens * size, random, 3);
    const std::vector<float> weight = random_vector(size, random);
    check_backends(fmt::format("{} x {}", tokens, size), rms_norm(x, weight, 1e-5F), [&](Backend& backend) {
      const Activations in(backend, tokens, size, x);
      backend.rms_norm(in.matrix(), in.matrix(), backend.place(Norm{weight, 1e-5F}));
      return in.values();
    });
  }
}

TEST_CASE("rms_norm of zeros is zero") {
  const std::vector<float> x(16, 0.0F);
  const std::vector<float> weight(16, 2.0F);
  check_backends("zeros", {std::vector<double>(16, 0), std::vector<double>(16, 0)}, [&](Backend& backend) {
    const Activations in(backend, 1, 16, x);
    backend.rms_norm(in.matrix(), in.matrix(), backend.place(Norm{weight, 1e-5F}));
    return in.values();
  });
}

}  // namespace spqr
