// Products of the strip kernels (spqr_strip_int16.h) with dot products of bytes (VNNI): of a quad of columns
// first the high bytes of x and then the low ones, both signed. The including file defines
//   i32v add_byte_products(i32v sums, u32v codes, u32v x): adds the products of the 4 bytes in each lane,
//   codes unsigned and x signed
#pragma once

#include <cstdint>

#include "kernels/cpu/vectors.h"

namespace spqr {
namespace {

inline void store_codes(std::int8_t* out, i32v c) {
  alignas(64) std::int8_t high[kLanes];
  alignas(64) std::int8_t low[kLanes];
  const i32v upper = (c + 128) >> 8;
  store(high, __builtin_convertvector(upper, i8v));
  store(low, __builtin_convertvector(c - (upper << 8), i8v));
  for (int i = 0; i < kLanes; i += 4) {
    std::memcpy(out + 2 * i, high + i, 4);
    std::memcpy(out + 2 * i + 4, low + i, 4);
  }
}

struct DotSums {
  i32v high{}, low{};
};

inline i32v total(const DotSums& sums) {
  return (sums.high << 8) + sums.low;
}

inline __attribute__((always_inline)) void add_dot(DotSums& sums, u32v codes, const std::int8_t* x) {
  sums.high = add_byte_products(sums.high, codes, broadcast(load<std::uint32_t>(x)));
  sums.low = add_byte_products(sums.low, codes, broadcast(load<std::uint32_t>(x + 4)));
}

}  // namespace
}  // namespace spqr
