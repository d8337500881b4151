// Products of packed weights and activations that are both rounded to bf16, for many tokens: weights are
// widened to bf16 once, 8 bits of mantissa lose next to nothing beside their quantization, and two columns
// are multiplied and added at once. Where an instruction set has no such products there is no table.
//   The first columns, which are those with the largest activations where columns are in their order
// (act_order), come twice: what rounding left of their weights is multiplied with the same activations. On a
// model with a few very large ones this takes most of what is lost.
//   Where products of bf16 are very fast, dense weights of 16 bits are multiplied so too, with hardly any
// loss: both sides are sums of two bf16, high and low, and three of the four products follow each other as
// columns (high high, high low, low high). The fourth is 2^-16 of a product at most, as is what the parts
// leave of x.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/cpu/vector_kernels.h"
#include "kernels/spqr_layout.h"
#include "kernels/spqr_matrix.h"

namespace spqr {

// Elements are pairs of bf16 of neighbouring columns, the left one in the lower half: first those of all
// columns, then those of the refined ones.
struct Bf16Kernels {
  std::int64_t few_tokens;  // up to so many are multiplied faster with codes as they are stored
  static constexpr std::int64_t kRefined = 32;
  static constexpr std::int64_t refined_pairs(std::int64_t columns) {
    return std::min(kRefined, columns) / 2;
  }
  static constexpr std::int64_t plain_pairs(std::int64_t columns) { return (columns + 1) / 2; }
  static constexpr std::int64_t pairs(std::int64_t columns) {
    return plain_pairs(columns) + refined_pairs(columns);
  }
  // x (columns) rounded to the nearest, out (pairs(columns)); a column that is missing is zero
  void (*narrow)(const float* x, std::int64_t columns, std::uint32_t* out);
  // A strip of W, outliers included, as four panels of panels.h: panels (4, pairs(n), 16), in the stored
  // column order.
  void (*pack_strip)(const SpqrMatrix& w, const SpqrLayout& layout, std::int64_t strip,
                     std::uint32_t* panels);
  // As VectorKernels has it, for A and panels of pairs; depth and strides count pairs.
  cpu::MultiplyPanels multiply_panels;
  // Null unless three of these products are faster than one in f32. x (columns) = high + low but for 2^-16 of
  // it, both (plain_pairs(columns)).
  void (*split)(const float* x, std::int64_t columns, std::uint32_t* high, std::uint32_t* low) = nullptr;
  // Rounds of nothing but products, operands at hand; returns multiply-adds. Null: as the strips' peak_int16.
  std::int64_t (*peak)(std::int64_t rounds) = nullptr;
  static constexpr std::int64_t split_pairs(std::int64_t columns) { return 3 * plain_pairs(columns); }
};

extern const Bf16Kernels kBf16Avx512;
// The same with products in AMX tiles; A's columns lie side by side.
extern const Bf16Kernels kBf16Amx;

}  // namespace spqr
