#include "kernels/cpu/panels.h"

#include <algorithm>
#include <cstring>

namespace spqr::cpu {

Panels pack_transposed(float* memory, const float* rows, std::int64_t depth, std::int64_t cols) {
  for (std::int64_t first = 0; first < cols; first += kPanelCols) {
    vector_kernels().transpose_panel(memory + first * depth, rows + first * depth, depth,
                                     std::min(kPanelCols, cols - first));
  }
  return {memory, depth, cols};
}

Panels pack(float* memory, const float* rows, std::int64_t depth, std::int64_t cols) {
  std::int64_t first = 0;
  for (; first + kPanelCols <= cols; first += kPanelCols) {
    for (std::int64_t k = 0; k < depth; ++k)
      std::memcpy(memory + first * depth + k * kPanelCols, rows + k * cols + first,
                  kPanelCols * sizeof(float));
  }
  if (first < cols) {
    float* panel = memory + first * depth;
    std::fill_n(panel, depth * kPanelCols, 0.0F);
    for (std::int64_t k = 0; k < depth; ++k)
      std::copy_n(rows + k * cols + first, cols - first, panel + k * kPanelCols);
  }
  return {memory, depth, cols};
}

Panels columns(const Panels& b, std::int64_t first, std::int64_t count) {
  return {b.data + first * b.depth, b.depth, count};
}

void multiply(Rows c, ConstRows a, std::int64_t rows, const Panels& b, const Span& span, Store store) {
  PanelProduct product{
      .a = a.data, .stride_a = a.stride, .depth = span.depth, .stride_c = c.stride, .rows = rows};
  product.add = store == Store::add;
  for (std::int64_t first = 0; first < b.cols; first += kPanelCols) {
    product.panel = b.data + first * b.depth + span.first * kPanelCols;
    product.c = c.data + first;
    product.cols = std::min(kPanelCols, b.cols - first);
    vector_kernels().multiply_panel(product);
  }
}

}  // namespace spqr::cpu
