#include <doctest/doctest.h>

#include "tests/kernels/operands.h"

namespace spqr {

TEST_CASE("swiglu: any size and sign, saturated gates too") {
  std::mt19937 random(1);
  for (const std::int64_t tokens : {1, 3, 40}) {
    for (const std::int64_t size : {1, 5, 8, 100, 1031}) {
      std::vector<float> gate = random_vector(tokens * size, random, 8);
      const std::vector<float> up = random_vector(tokens * size, random);
      for (std::size_t i = 0; i < gate.size(); i += 7) gate[i] *= 100;
      Expected expected;
      for (std::size_t i = 0; i < gate.size(); ++i) {
        const double g = gate[i];
        expected.values.push_back(g / (1 + std::exp(-g)) * up[i]);
        // An exponential is good to 8 roundings, and its argument stops at 87, where the result is below
        // 1e-34; division and products add a few.
        expected.tolerances.push_back(16 * kUnit * std::abs(expected.values.back()) + 1e-33);
      }
      for (const bool in_place : {false, true}) {
        check_backends(fmt::format("{} x {}", tokens, size), expected, [&](Backend& backend) {
          const Activations g(backend, tokens, size, gate);
          const Activations u(backend, tokens, size, up);
          const Activations h(backend, tokens, size);
          const Activations& to = in_place ? g : h;
          backend.swiglu(to.matrix(), g.matrix(), u.matrix());
          return to.values();
        });
      }
    }
  }
}

}  // namespace spqr
