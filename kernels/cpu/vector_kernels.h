// The inner loops of the cpu backend, one table per instruction set (isa.h).
// Arrays are f32 where they are not said to be f16 or bf16; results of one table do not depend on alignment.
#pragma once

#include <cstddef>
#include <cstdint>

namespace spqr::cpu {

inline constexpr std::int64_t kPanelCols = 16;

// c (rows, cols) (+)= a (rows, depth) times panels of panels.h, each (depth, kPanelCols) of which the last
// may have more columns than are left.
struct PanelProduct {
  const float* a = nullptr;
  std::int64_t stride_a = 0;  // from one row to the next
  std::int64_t step_a = 1;    // from one column to the next
  const float* panels = nullptr;
  std::int64_t panel_stride = 0;         // from one panel to the next
  std::int64_t panel_step = kPanelCols;  // from one row of a panel to the next
  std::int64_t depth = 0;
  float* c = nullptr;
  std::int64_t stride_c = 0;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  bool add = false;
};

using MultiplyPanels = void (*)(const PanelProduct& product);

struct VectorKernels {
  // sum_i words[i], modulo 2^32: as fast as memory is read.   n a multiple of 1024
  std::uint32_t (*sum)(const std::uint32_t* words, std::int64_t n);
  // sum_i a[i] b[i]
  float (*dot)(const float* a, const float* b, std::int64_t n);
  float (*dot_f16)(const std::uint16_t* a, const float* b, std::int64_t n);
  float (*dot_bf16)(const std::uint16_t* a, const float* b, std::int64_t n);
  // out (n) = values
  void (*widen_f16)(const std::uint16_t* values, std::int64_t n, float* out);
  // out (count, n) = rows of q8_0 (cache_type.h)
  void (*widen_q8_0)(const std::byte* rows, std::int64_t count, std::int64_t n, float* out);
  // y[r] = sum_i rows[r][i] x[i]                 rows (count, n)
  void (*dot_rows)(const float* rows, std::int64_t count, const float* x, float* y, std::int64_t n);
  // y[i] += sum_r weights[r] rows[r][i]          rows (count, n)
  void (*add_rows)(const float* weights, const float* rows, std::int64_t count, float* y, std::int64_t n);
  // x *= a
  void (*scale)(float a, float* x, std::int64_t n);
  // x = a x, returns the largest of them (-infinity if n is 0)
  float (*scale_max)(float a, float* x, std::int64_t n);
  // x = a x + b, returns the largest of them
  float (*scale_add_max)(float a, const float* b, float* x, std::int64_t n);
  // x = exp(x - maximum), returns their sum
  float (*exp_sum)(float maximum, float* x, std::int64_t n);
  // h = silu(gate) * up; h may be gate
  void (*swiglu)(float* h, const float* gate, const float* up, std::int64_t n);
  // h = x Phi(x); h may be x
  void (*gelu)(float* h, const float* x, std::int64_t n);
  // y = x / sqrt(mean(x^2) + eps) * weight; y may be x
  void (*rms_norm)(float* y, const float* x, const float* weight, float eps, std::int64_t n);
  // y = (x - mean(x)) / sqrt(variance(x) + eps) * weight + bias; y may be x
  void (*layer_norm)(float* y, const float* x, const float* weight, const float* bias, float eps,
                     std::int64_t n);
  MultiplyPanels multiply_panels;
  // panel (depth, kPanelCols) = rows^T; rows (count, depth); columns from count on are zero
  void (*transpose_panel)(float* panel, const float* rows, std::int64_t depth, std::int64_t count);
};

extern const VectorKernels kVectorPortable;
extern const VectorKernels kVectorAvx2;
extern const VectorKernels kVectorAvx512;

}  // namespace spqr::cpu
