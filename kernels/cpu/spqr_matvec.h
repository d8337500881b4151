// Kernels on packed matrices: products with one token, and rows as f32 for products with many.
// Results do not depend on the number of threads.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/activation_type.h"
#include "kernels/cpu/spqr_input.h"
#include "kernels/spqr_matrix.h"

namespace spqr {

// y (+)= W x + bias.   W (m, n) packed   bias (m) or none   y (m) f32
struct SpqrProduct {
  const SpqrMatrix* w = nullptr;
  std::span<const float> bias{};
  float* y = nullptr;
  bool add = false;
};

// All products of one token's x (n) f32, in the stored (permuted) column order of the matrices, in one pass;
// `input` is where x is prepared. Any m and settings, n is that of all.
// Reads w.bytes() + 4 n bytes, writes 4 m: one sequential stream per strip of 64 rows, strips shared among
// threads in contiguous parts.
//   int8: per 32 weights about 10 vector instructions of AVX2 (3 bits, 16 x 16), f32: about 20.
void spqr_matvec(std::span<const SpqrProduct> products, const float* x, ActivationType activations,
                 SpqrInput& input);

// Rows [first_row, first_row + rows) of W, dense and sparse part, in the stored column order: out (rows, n)
// f32 row-major. Whole strips of 64 rows are fastest. Values are those of dequantize_row.
void dequantize_rows(const SpqrMatrix& w, std::int64_t first_row, std::int64_t rows, float* out);

}  // namespace spqr
