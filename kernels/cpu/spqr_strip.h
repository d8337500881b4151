// Strip kernels: what spqr_matmul and dequantize_rows do with one strip of (up to) 64 rows. One table of
// functions per instruction set (isa.h).
#pragma once

#include <cstdint>

#include "kernels/cpu/spqr_input.h"
#include "kernels/spqr_layout.h"
#include "kernels/spqr_matrix.h"

namespace spqr {

inline constexpr std::int64_t kAnyTokens = std::int64_t{1} << 62;

struct SpqrStripKernels {
  // Up to so many tokens are multiplied faster with codes as they are stored than in tiles (linear_tiles.cpp)
  // where x is in 16 bits.
  std::int64_t few_tokens;
  // y (tokens, 64) = W x for the rows of the strip, outliers aside.
  void (*multiply_f32)(const SpqrMatrix& w, const SpqrLayout& layout, std::int64_t strip,
                       const SpqrInputView& x, float* y);
  // The same for x in 16 bits; null where f32 is as fast.
  void (*multiply_int16)(const SpqrMatrix& w, const SpqrLayout& layout, std::int64_t strip,
                         const SpqrInputView& x, float* y);
  // A block of one token, x (kBlockColumns), as SpqrInputView has it: codes and their sums by group; returns
  // the scale. Null where there is no multiply_int16.
  float (*round_block)(const float* x, std::int64_t group_columns, std::int8_t* codes, float* sums);
  // y (tokens, stride) += outliers of rows [first, last) times x; `first` is a strip's.
  void (*add_outliers)(const SpqrMatrix& w, std::int64_t first, std::int64_t last, const SpqrInputView& x,
                       float* y, std::int64_t stride);
  // Rows [first, last) of the strip: out (last - first, n).
  void (*dequantize)(const SpqrMatrix& w, const SpqrLayout& layout, std::int64_t strip, std::int64_t first,
                     std::int64_t last, float* out);
  // Rounds of nothing but products with operands at hand, as fast as the processor does them: in f32, and as
  // multiply_int16 does them (null where there is none). Return the number of multiply-adds.
  std::int64_t (*peak_f32)(std::int64_t rounds);
  std::int64_t (*peak_int16)(std::int64_t rounds);
};

extern const SpqrStripKernels kSpqrStripPortable;
extern const SpqrStripKernels kSpqrStripAvx2;
extern const SpqrStripKernels kSpqrStripAvx2Vnni;
extern const SpqrStripKernels kSpqrStripAvx512;

}  // namespace spqr
