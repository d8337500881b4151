// Strip kernels: what spqr_matvec and dequantize_rows do with one strip of (up to) 64 rows. One table of
// functions per instruction set; the best one that this machine has is chosen once.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/cpu/spqr_input.h"
#include "kernels/cpu/spqr_matvec.h"
#include "kernels/spqr_layout.h"
#include "kernels/spqr_matrix.h"

namespace spqr {

struct SpqrStripKernels {
  const char* isa;
  // y (rows of the strip) = W x, with an input of ActivationType::f32 or of int8.
  void (*matvec)(const SpqrMatrix& w, const SpqrLayout& layout, std::int64_t strip, const SpqrInputView& x,
                 float* y);
  void (*matvec_int8)(const SpqrMatrix& w, const SpqrLayout& layout, std::int64_t strip,
                      const SpqrInputView& x, float* y);
  // codes = x / scale of its span, rounded to the nearest in -127..127: the scale makes the span's largest
  // 127. x, codes: whole units of 8; scales, sums (of scale * code): one for each span.
  void (*round_input)(const float* x, std::int64_t n, std::int64_t span_columns, std::int8_t* codes,
                      float* scales, float* sums);
  // Rows [first, last) of the strip: out (last - first, n).
  void (*dequantize)(const SpqrMatrix& w, const SpqrLayout& layout, std::int64_t strip, std::int64_t first,
                     std::int64_t last, float* out);
};

extern const SpqrStripKernels kSpqrStripPortable;
extern const SpqrStripKernels kSpqrStripAvx2;  // needs AVX2 and FMA

// The tables that run on this machine, best first.
std::span<const SpqrStripKernels* const> spqr_strip_kernels();

// The functions of spqr_matvec.h with a given table.
void spqr_matvec(const SpqrStripKernels& kernels, std::span<const SpqrProduct> products, const float* x,
                 ActivationType activations, SpqrInput& input);
void dequantize_rows(const SpqrStripKernels& kernels, const SpqrMatrix& w, std::int64_t first_row,
                     std::int64_t rows, float* out);

}  // namespace spqr
