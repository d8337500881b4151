// Products with panels (panels.h), whatever their elements are. Compiled once per instruction set, hence the
// anonymous namespace.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/cpu/vector_kernels.h"
#include "kernels/cpu/vectors.h"

namespace spqr::cpu {
namespace {

// Rows of A at a time, and panels: two vectors of sums for each row, one vector of A and two of B fill the 16
// registers of AVX2, or most of the 32 of AVX-512.
constexpr int kRowsAtOnce = kLanes == 16 ? 12 : 6;
constexpr int kPanelsAtOnce = 2 * kLanes / kPanelCols;

// c (+)= sums of one row, for as many columns as count.
template <int kVectors>
inline void store_sums(const f32v* sums, float* c, std::int64_t cols, bool add) {
  if (cols >= kVectors * kLanes) {
    for (int i = 0; i < kVectors; ++i)
      store(c + kLanes * i, add ? load<f32v>(c + kLanes * i) + sums[i] : sums[i]);
    return;
  }
  float row[kVectors * kLanes];
  for (int i = 0; i < kVectors; ++i) store(row + kLanes * i, sums[i]);
  for (std::int64_t i = 0; i < cols; ++i) c[i] = add ? c[i] + row[i] : row[i];
}

// kVectors of columns, side by side from `panel` on.
template <int kRows, int kVectors, typename Add>
inline void multiply_rows(const PanelProduct& p, Add add, const float* a, float* c, const float* panel,
                          std::int64_t cols) {
  f32v sums[kRows][kVectors] = {};
  // Far-apart rows that are not in the cache would be waited for at the end.
  for (int r = 0; r < kRows; ++r) __builtin_prefetch(c + r * p.stride_c, 1);
#pragma GCC unroll 2
  for (std::int64_t k = 0; k < p.depth; ++k, panel += p.panel_step, a += p.step_a) {
    f32v b[kVectors];
    for (int i = 0; i < kVectors; ++i)
      b[i] = load<f32v>(panel + i * kLanes / kPanelCols * p.panel_stride + i * kLanes % kPanelCols);
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) {
      for (int i = 0; i < kVectors; ++i) sums[r][i] = add(sums[r][i], a + r * p.stride_a, b[i]);
    }
  }
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r) store_sums<kVectors>(sums[r], c + r * p.stride_c, cols, p.add);
}

// The last `rows` rows, fewer than kRows + 1.
template <int kRows, int kVectors, typename Add>
inline void multiply_last_rows(const PanelProduct& p, Add add, std::int64_t rows, const float* panel,
                               float* c, std::int64_t cols) {
  if constexpr (kRows > 0) {
    if (rows < kRows) return multiply_last_rows<kRows - 1, kVectors>(p, add, rows, panel, c, cols);
    const std::int64_t done = p.rows - rows;
    multiply_rows<kRows, kVectors>(p, add, p.a + done * p.stride_a, c + done * p.stride_c, panel, cols);
  }
}

template <int kVectors, typename Add>
inline void multiply_columns(const PanelProduct& p, Add add, const float* panel, float* c,
                             std::int64_t cols) {
  std::int64_t r = 0;
  for (; r + kRowsAtOnce <= p.rows; r += kRowsAtOnce)
    multiply_rows<kRowsAtOnce, kVectors>(p, add, p.a + r * p.stride_a, c + r * p.stride_c, panel, cols);
  multiply_last_rows<kRowsAtOnce - 1, kVectors>(p, add, p.rows - r, panel, c, cols);
}

// add(sum, a, b): sum of each lane plus the product of *a, the same for all, and b's lane.
template <typename Add>
inline void multiply_all_panels(const PanelProduct& p, Add add) {
  constexpr std::int64_t kColumns = kPanelsAtOnce * kPanelCols;
  constexpr int kVectors = static_cast<int>(kPanelCols) / kLanes;
  std::int64_t first = 0;
  const auto panel = [&] { return p.panels + first / kPanelCols * p.panel_stride; };
  for (; first + kColumns - kPanelCols < p.cols; first += kColumns)
    multiply_columns<kPanelsAtOnce * kVectors>(p, add, panel(), p.c + first,
                                               std::min(kColumns, p.cols - first));
  if (first < p.cols) multiply_columns<kVectors>(p, add, panel(), p.c + first, p.cols - first);
}

}  // namespace
}  // namespace spqr::cpu
