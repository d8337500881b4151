// Kernels on packed matrices: the product with one token, and rows as f32 for products with many.
// Results do not depend on the number of threads.
#pragma once

#include <cstdint>

#include "kernels/spqr_matrix.h"

namespace spqr {

// y = W x for one token, f32 arithmetic; x in the stored (permuted) column order.
//   W (m, n) packed   x (n) f32   y (m) f32      any m, n and settings
// Reads w.bytes() + 4 n bytes, writes 4 m: one sequential stream per strip of 64 rows, strips shared among
// threads.
void spqr_matvec(const SpqrMatrix& w, const float* x, float* y);

// Rows [first_row, first_row + rows) of W, dense and sparse part, in the stored column order: out (rows, n)
// f32 row-major. Whole strips of 64 rows are fastest. Values are those of dequantize_row.
void dequantize_rows(const SpqrMatrix& w, std::int64_t first_row, std::int64_t rows, float* out);

}  // namespace spqr
