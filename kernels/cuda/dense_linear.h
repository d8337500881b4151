// The products that dense_linear chooses among.
#pragma once

#include <cstdint>

#include "kernels/cuda/gpu.h"
#include "kernels/tensor.h"

namespace spqr::cuda {

// y (+)= W x + b.   W (m, n) of `type`, x (tokens, n), y (tokens, m), b (m) or null
struct DenseProduct {
  float* y = nullptr;
  const void* weight = nullptr;
  const float* x = nullptr;
  const float* bias = nullptr;
  DType type = DType::f32;
  bool add = false;
  bool aligned = false;  // all rows of W and x begin at 16 bytes
  std::int64_t m = 0;
  std::int64_t n = 0;
  std::int64_t tokens = 0;
};

// Few tokens: W is read once for up to 8 of them.
void dense_matvec(const Gpu& gpu, const DenseProduct& product);
// Many tokens, weights in f32 or bf16, without tensor cores.
void dense_matmul(const Gpu& gpu, const DenseProduct& product);
// Many tokens, weights in f16, on tensor cores.
void dense_matmul_f16(const Gpu& gpu, const DenseProduct& product);

}  // namespace spqr::cuda
