// The strip kernels, written once with the compiler's vector types and compiled once per instruction set:
// included only by spqr_strip_<instruction set>.cpp, which first defines
//   f32x8 load_f16(const std::byte*): 8 stored values      f32x8 bytes_to_f32(const void*): of 8 bytes
//   float sum_of_eight(f32x8)
//   f32v look_up(f32v table, u32v index): by the lowest bits
//   u64v two_words(const std::byte*), four_words: 2 or 4 words of 8 bytes, repeated until a vector is full
// Everything is in an anonymous namespace: each has its own copy.
#pragma once

#include "kernels/cpu/spqr_strip.h"
#include "kernels/cpu/spqr_strip_f32.h"
#include "kernels/cpu/spqr_strip_outliers.h"

namespace spqr {
namespace {

using Multiply = void (*)(const SpqrMatrix&, const SpqrLayout&, std::int64_t, const SpqrInputView&, float*);

void multiply_strip(const Multiply* by_bits, const SpqrMatrix& w, const SpqrLayout& layout,
                    std::int64_t strip, const SpqrInputView& x, float* y) {
  std::memset(y, 0, sizeof(float) * static_cast<std::size_t>(kRows * x.tokens));
  by_bits[w.format.bits - 2](w, layout, strip, x, y);
}

void multiply_strip_f32(const SpqrMatrix& w, const SpqrLayout& layout, std::int64_t strip,
                        const SpqrInputView& x, float* y) {
  static constexpr Multiply kByBits[] = {multiply_f32<2>, multiply_f32<3>, multiply_f32<4>, multiply_f32<5>,
                                         multiply_f32<6>, multiply_f32<7>, multiply_f32<8>};
  multiply_strip(kByBits, w, layout, strip, x, y);
}

void dequantize_strip(const SpqrMatrix& w, const SpqrLayout& layout, std::int64_t strip, std::int64_t first,
                      std::int64_t last, float* out) {
  using Function =
      void (*)(const SpqrMatrix&, const SpqrLayout&, std::int64_t, std::int64_t, std::int64_t, float*);
  static constexpr Function kByBits[] = {dequantize<2>, dequantize<3>, dequantize<4>, dequantize<5>,
                                         dequantize<6>, dequantize<7>, dequantize<8>};
  kByBits[w.format.bits - 2](w, layout, strip, first, last, out);
}

}  // namespace
}  // namespace spqr
