#include <doctest/doctest.h>

#include <optional>

#include "tests/kernels/random_linear.h"

namespace spqr {

TEST_CASE("embed: rows of every kind of table") {
  std::mt19937 random(4);
  for (const std::optional<DType>& kind : {std::optional(DType::f32), std::optional(DType::f16),
                                           std::optional(DType::bf16), std::optional<DType>()}) {
    // Packed tables of several random formats: without outliers, with some, with nothing else.
    for (const std::int64_t hidden : kind ? std::vector<std::int64_t>{1, 30, 257}
                                          : std::vector<std::int64_t>{1, 30, 257, 258, 259, 260, 261}) {
      const auto table = random_linear(kind, 100, hidden, false, {}, random);
      const std::vector<std::int32_t> ids = {0, 99, 5, 5, 64, 63};
      Expected expected;
      for (const std::int32_t id : ids) {
        for (std::int64_t j = 0; j < hidden; ++j) {
          const auto at = static_cast<std::size_t>(id * hidden + j);
          expected.values.push_back(table->values[at]);
          // Dense rows are exact; dequantizing rounds a few times.
          expected.tolerances.push_back(kind ? 0 : 8 * kUnit * table->sizes[at]);
        }
      }
      check_backends(fmt::format("{}, {} wide", kind ? name_of(*kind) : "packed", hidden), expected,
                     [&](Backend& backend) {
                       const Activations x(backend, static_cast<std::int64_t>(ids.size()), hidden);
                       backend.embed(x.matrix(), backend.place(table->linear), ids);
                       return x.values();
                     });
    }
  }
}

}  // namespace spqr
