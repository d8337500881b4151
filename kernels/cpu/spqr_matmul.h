// Products of packed matrices with a few tokens, and rows as f32 for products with many.
// Results do not depend on the number of threads.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/activation_type.h"
#include "kernels/cpu/spqr_input.h"
#include "kernels/spqr_matrix.h"
#include "kernels/tensor.h"

namespace spqr {

struct KernelTables;
struct SpqrStripKernels;

// y (+)= W x + bias.   W (m, n) packed   bias (m) or none   y (tokens, m) f32
struct SpqrProduct {
  const SpqrMatrix* w = nullptr;
  std::span<const float> bias{};
  float* y = nullptr;
  bool add = false;
};

// All products of x (tokens, n) f32, in the stored (permuted) column order of the matrices, in one pass;
// `input` is where x is prepared. Any m and settings, n is that of all.
// Reads w.bytes() + 4 tokens n bytes, writes 4 tokens m: one sequential stream per strip of 64 rows, strips
// shared among threads in contiguous parts. Codes are unpacked once for each 4 tokens.
void spqr_matmul(const KernelTables& kernels, std::span<const SpqrProduct> products, Matrix x,
                 ActivationType activations, SpqrInput& input);

// Rows [first_row, first_row + rows) of W, dense and sparse part, in the stored column order: out (rows, n)
// f32 row-major. Whole strips of 64 rows are fastest. Values are those of dequantize_row.
void dequantize_rows(const SpqrStripKernels& kernels, const SpqrMatrix& w, std::int64_t first_row,
                     std::int64_t rows, float* out);

}  // namespace spqr
