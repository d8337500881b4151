// Strip kernels for any processor.
#include <cstddef>

#include "kernels/cpu/vectors.h"
#include "kernels/half.h"

namespace spqr {
namespace {

inline f32x8 bytes_to_f32(const void* bytes) {
  std::uint8_t codes[8];
  std::memcpy(codes, bytes, sizeof codes);
  f32x8 values;
  for (int i = 0; i < 8; ++i) values[i] = static_cast<float>(codes[i]);
  return values;
}

inline f32x8 load_f16(const std::byte* from) {
  f32x8 values;
  for (int i = 0; i < 8; ++i) values[i] = f16_to_f32(load<std::uint16_t>(from + 2 * i));
  return values;
}

inline float sum_of_eight(f32x8 v) {
  return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]));
}

inline u64v two_words(const std::byte* words) {
  const auto first = load<std::uint64_t>(words);
  const auto second = load<std::uint64_t>(words + 8);
  return u64v{first, second, first, second};
}

inline u64v four_words(const std::byte* words) {
  return load<u64v>(words);
}

inline f32v look_up(f32v table, u32v index) {
  f32v values;
  for (int i = 0; i < kLanes; ++i) values[i] = table[index[i] & 7U];
  return values;
}

}  // namespace
}  // namespace spqr

#include "kernels/cpu/spqr_strip_body.h"
#include "kernels/cpu/spqr_strip_peak.h"

namespace spqr {

const SpqrStripKernels kSpqrStripPortable{
    4, multiply_strip_f32, nullptr, nullptr, add_outliers, dequantize_strip, peak_f32<1>, nullptr};

}  // namespace spqr
