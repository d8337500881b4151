// Products of f32 matrices on the calling thread: C (rows, cols) (+)= A (rows, depth) B (depth, cols).
// B is cut into panels of kPanelCols columns, stored one after the other, each row by row: the inner loop
// reads one stream of whole cache lines. The last panel is filled up with zeros. An element of C is one chain
// of additions over `depth`, whatever rows and columns are computed with it.
#pragma once

#include <cstdint>

#include "kernels/cpu/vector_kernels.h"

namespace spqr::cpu {

constexpr std::int64_t panel_floats(std::int64_t depth, std::int64_t cols) {
  return (cols + kPanelCols - 1) / kPanelCols * kPanelCols * depth;
}

enum class Store : std::uint8_t { overwrite, add };

struct Panels {
  const float* data;
  std::int64_t depth, cols;  // of B
};
// Of B from B^T (cols, depth), rows one after the other. `memory` has room for panel_floats(depth, cols).
Panels pack_transposed(const VectorKernels& kernels, float* memory, const float* rows, std::int64_t depth,
                       std::int64_t cols);
// Of B from B.
Panels pack(float* memory, const float* rows, std::int64_t depth, std::int64_t cols);
// One panel from `cols` columns of B whose rows are `stride` apart.
void pack_panel(float* panel, const float* rows, std::int64_t depth, std::int64_t cols, std::int64_t stride);

// Columns first .. first + count of B; first is a multiple of kPanelCols.
Panels columns(const Panels& b, std::int64_t first, std::int64_t count);

// Rows of A or C, `stride` apart.
struct Rows {
  float* data;
  std::int64_t stride;
};
struct ConstRows {
  const float* data;
  std::int64_t stride;
};

// A (rows, depth) times the rows of B from `first` on.
struct Span {
  std::int64_t first = 0;
  std::int64_t depth = 0;
};
void multiply(MultiplyPanels multiply_panels, Rows c, ConstRows a, std::int64_t rows, const Panels& b,
              const Span& span, Store store);
// C (+)= A^T B for A in a single panel, both from row span.first on.
void multiply_transposed(MultiplyPanels multiply_panels, Rows c, const Panels& a, const Panels& b,
                         const Span& span, Store store);

}  // namespace spqr::cpu
