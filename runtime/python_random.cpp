#include "runtime/python_random.h"

#include <algorithm>
#include <bit>
#include <stdexcept>

namespace spqr {

PythonRandom::PythonRandom(std::uint32_t seed) {
  initialize(19650218U);
  // init_by_array with the key {seed}.
  std::size_t i = 1;
  const auto wrap = [&] {
    if (++i >= kWords) {
      state_[0] = state_[kWords - 1];
      i = 1;
    }
  };
  for (std::size_t k = 0; k < kWords; ++k) {
    state_[i] = (state_[i] ^ ((state_[i - 1] ^ (state_[i - 1] >> 30U)) * 1664525U)) + seed;
    wrap();
  }
  for (std::size_t k = 0; k + 1 < kWords; ++k) {
    state_[i] = (state_[i] ^ ((state_[i - 1] ^ (state_[i - 1] >> 30U)) * 1566083941U)) -
                static_cast<std::uint32_t>(i);
    wrap();
  }
  state_[0] = 0x80000000U;
}

void PythonRandom::initialize(std::uint32_t seed) {
  state_[0] = seed;
  for (std::uint32_t i = 1; i < kWords; ++i)
    state_[i] = 1812433253U * (state_[i - 1] ^ (state_[i - 1] >> 30U)) + i;
}

void PythonRandom::refill() {
  constexpr std::size_t kShift = 397;
  for (std::size_t i = 0; i < kWords; ++i) {
    const std::uint32_t y = (state_[i] & 0x80000000U) | (state_[(i + 1) % kWords] & 0x7fffffffU);
    state_[i] = state_[(i + kShift) % kWords] ^ (y >> 1U) ^ ((y & 1U) != 0 ? 0x9908b0dfU : 0U);
  }
  index_ = 0;
}

std::uint32_t PythonRandom::next() {
  if (index_ == kWords) refill();
  std::uint32_t y = state_[index_++];
  y ^= y >> 11U;
  y ^= (y << 7U) & 0x9d2c5680U;
  y ^= (y << 15U) & 0xefc60000U;
  return y ^ (y >> 18U);
}

std::int64_t PythonRandom::randint(std::int64_t low, std::int64_t high) {
  if (high < low || high - low >= std::int64_t{1} << 32U)
    throw std::invalid_argument("PythonRandom: empty or too wide a range");
  const auto count = static_cast<std::uint64_t>(high - low + 1);
  // _randbelow_with_getrandbits: as many bits as the count has, anew until they are below it.
  const auto bits = static_cast<int>(std::bit_width(count));
  while (true) {
    std::uint64_t value = next();
    if (bits <= 32) {
      value >>= static_cast<unsigned>(32 - bits);
    } else {
      value |= static_cast<std::uint64_t>(next() >> static_cast<unsigned>(64 - bits)) << 32U;
    }
    if (value < count) return low + static_cast<std::int64_t>(value);
  }
}

}  // namespace spqr
