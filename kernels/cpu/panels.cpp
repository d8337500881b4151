#include "kernels/cpu/panels.h"

#include <algorithm>
#include <cstring>

namespace spqr::cpu {

Panels pack_transposed(const VectorKernels& kernels, float* memory, const float* rows, std::int64_t depth,
                       std::int64_t cols) {
  for (std::int64_t first = 0; first < cols; first += kPanelCols) {
    kernels.transpose_panel(memory + first * depth, rows + first * depth, depth,
                            std::min(kPanelCols, cols - first));
  }
  return {memory, depth, cols};
}

void pack_panel(float* panel, const float* rows, std::int64_t depth, std::int64_t cols, std::int64_t stride) {
  for (std::int64_t k = 0; k < depth; ++k, panel += kPanelCols, rows += stride) {
    if (cols == kPanelCols) {
      std::memcpy(panel, rows, kPanelCols * sizeof(float));
    } else {
      std::fill(std::copy_n(rows, cols, panel), panel + kPanelCols, 0.0F);
    }
  }
}

Panels pack(float* memory, const float* rows, std::int64_t depth, std::int64_t cols) {
  for (std::int64_t first = 0; first < cols; first += kPanelCols)
    pack_panel(memory + first * depth, rows + first, depth, std::min(kPanelCols, cols - first), cols);
  return {memory, depth, cols};
}

Panels columns(const Panels& b, std::int64_t first, std::int64_t count) {
  return {b.data + first * b.depth, b.depth, count};
}

namespace {

PanelProduct product_with(const Panels& b, const Span& span, Rows c, Store store) {
  PanelProduct product;
  product.panels = b.data + span.first * kPanelCols;
  product.panel_stride = b.depth * kPanelCols;
  product.depth = span.depth;
  product.c = c.data;
  product.stride_c = c.stride;
  product.cols = b.cols;
  product.add = store == Store::add;
  return product;
}

}  // namespace

void multiply(MultiplyPanels multiply_panels, Rows c, ConstRows a, std::int64_t rows, const Panels& b,
              const Span& span, Store store) {
  PanelProduct product = product_with(b, span, c, store);
  product.a = a.data;
  product.stride_a = a.stride;
  product.rows = rows;
  multiply_panels(product);
}

void multiply_transposed(MultiplyPanels multiply_panels, Rows c, const Panels& a, const Panels& b,
                         const Span& span, Store store) {
  PanelProduct product = product_with(b, span, c, store);
  product.a = a.data + span.first * kPanelCols;
  product.stride_a = 1;
  product.step_a = kPanelCols;
  product.rows = a.cols;
  multiply_panels(product);
}

}  // namespace spqr::cpu
