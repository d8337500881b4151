// Strip kernels for any CPU.
#include <cstddef>

#include "kernels/cpu/spqr_vectors.h"
#include "kernels/half.h"

namespace spqr {
namespace {

// 8 bytes -> f32.
inline f32x8 bytes_to_f32(const void* bytes) {
  const auto codes = load<u8x8>(bytes);
  f32x8 values;
  for (int i = 0; i < kLanes; ++i) values[i] = static_cast<float>(codes[i]);
  return values;
}

inline f32x8 load_f16(const std::byte* from) {
  f32x8 values;
  for (int i = 0; i < kLanes; ++i) values[i] = f16_to_f32(load<std::uint16_t>(from + 2 * i));
  return values;
}

using DotSums = i32x8;

// sums += the products of 4 columns: codes of up to 4 bits, x as signed bytes.
inline DotSums add_dot(DotSums sums, u32x8 codes, u32x8 x) {
  for (int shift = 0; shift < 32; shift += 8) {
    sums +=
        reinterpret_cast<i32x8>(codes >> shift & 0xFFU) * (reinterpret_cast<i32x8>(x << (24 - shift)) >> 24);
  }
  return sums;
}
inline f32x8 total(DotSums sums) {
  return __builtin_convertvector(sums, f32x8);
}

// table[the lowest 3 bits of each index]
inline f32x8 look_up(f32x8 table, u32x8 index) {
  f32x8 values;
  for (int i = 0; i < kLanes; ++i) values[i] = table[index[i] & 7U];
  return values;
}

}  // namespace
}  // namespace spqr

#include "kernels/cpu/spqr_strip_int8.h"

namespace spqr {

const SpqrStripKernels kSpqrStripPortable{"portable", matvec_any, matvec_int8_any, round_input,
                                          dequantize_any};

}  // namespace spqr
