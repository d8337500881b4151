#include <doctest/doctest.h>

#include "tests/kernels/operands.h"

namespace spqr {

TEST_CASE("gelu: any size and sign, the far tails too") {
  std::mt19937 random(1);
  for (const std::int64_t tokens : {1, 3, 40}) {
    for (const std::int64_t size : {1, 5, 8, 100, 1031}) {
      std::vector<float> x = random_vector(tokens * size, random, 3);
      for (std::size_t i = 0; i < x.size(); i += 7) x[i] *= 10;
      Expected expected;
      for (const float value : x) {
        const double v = value;
        expected.values.push_back(v * std::erfc(-v / std::sqrt(2.0)) / 2);
        // The tail is good to 8 roundings and its exponential to 8 more, with an argument x^2 / 2 that is
        // rounded thrice; beyond 13.1 it stays at 2e-39.
        expected.tolerances.push_back((20 + 3 * std::min(v * v / 2, 87.0)) * kUnit *
                                          std::abs(expected.values.back()) +
                                      1e-37 * std::abs(v));
      }
      for (const bool in_place : {false, true}) {
        check_backends(fmt::format("{} x {}", tokens, size), expected, [&](Backend& backend) {
          const Activations in(backend, tokens, size, x);
          const Activations out(backend, tokens, size);
          const Activations& to = in_place ? in : out;
          backend.gelu(to.matrix(), in.matrix());
          return to.values();
        });
      }
    }
  }
}

}  // namespace spqr
