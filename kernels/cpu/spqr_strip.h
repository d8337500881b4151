// Strip kernels: what spqr_matvec and dequantize_rows do with one strip of (up to) 64 rows. One table of
// functions per instruction set; the best one that this machine has is chosen once.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/spqr_layout.h"
#include "kernels/spqr_matrix.h"

namespace spqr {

// Columns are worked on in spans: a group, or 256 columns of one where it is a whole row.
struct SpqrSpans {
  static constexpr std::int64_t kMaxColumns = 256;

  explicit SpqrSpans(const SpqrMatrix& matrix)
      : columns(matrix.format.beta1 == SpqrFormat::kWholeRow ? kMaxColumns : matrix.format.beta1),
        count((matrix.n + columns - 1) / columns),
        spans_per_group(matrix.format.beta1 == SpqrFormat::kWholeRow ? count : 1) {}

  std::int64_t columns;  // of all but the last
  std::int64_t count;
  std::int64_t spans_per_group;
};

struct SpqrStripKernels {
  // y (rows of the strip) = W x.   x: n values and zeros up to a multiple of 8; span_sums[i]: sum of x over
  // span i.
  void (*matvec)(const SpqrMatrix& w, const SpqrLayout& layout, std::int64_t strip, const float* x,
                 const float* span_sums, float* y);
  // Rows [first, last) of the strip: out (last - first, n).
  void (*dequantize)(const SpqrMatrix& w, const SpqrLayout& layout, std::int64_t strip, std::int64_t first,
                     std::int64_t last, float* out);
};

extern const SpqrStripKernels kSpqrStripPortable;
extern const SpqrStripKernels kSpqrStripAvx2;  // needs AVX2 and FMA

// The tables that run on this machine, best first.
std::span<const SpqrStripKernels* const> spqr_strip_kernels();

// The functions of spqr_matvec.h with a given table.
void spqr_matvec(const SpqrStripKernels& kernels, const SpqrMatrix& w, const float* x, float* y);
void dequantize_rows(const SpqrStripKernels& kernels, const SpqrMatrix& w, std::int64_t first_row,
                     std::int64_t rows, float* out);

}  // namespace spqr
