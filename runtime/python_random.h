// Python's random module, as far as evaluation protocols written in Python depend on it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace spqr {

// MT19937 seeded as random.seed(n) does for 0 <= n < 2^32: init_by_array({n}).
// Source: Matsumoto and Nishimura, mt19937ar.c; Python's documentation of random.
class PythonRandom {
 public:
  explicit PythonRandom(std::uint32_t seed);
  // random.randint(low, high), both inclusive; high - low < 2^32.
  std::int64_t randint(std::int64_t low, std::int64_t high);

 private:
  static constexpr std::size_t kWords = 624;
  void initialize(std::uint32_t seed);
  void refill();
  std::uint32_t next();

  std::array<std::uint32_t, kWords> state_{};
  std::size_t index_ = kWords;
};

}  // namespace spqr
