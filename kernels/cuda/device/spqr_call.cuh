// Arguments of the kernels that multiply with packed weights.
#pragma once

#include <cstdint>

#include "kernels/cuda/device/spqr_panel.cuh"
#include "kernels/cuda/spqr_operations.h"

namespace spqr::cuda {

// x (tokens, n), y (tokens, m); perm and bias may be null.
struct SpqrCall {
  const std::uint32_t* perm;
  const float* bias;
  const float* x;
  float* y;
  std::int32_t tokens;
  bool add;
};

inline SpqrOperand operand_of(const SpqrMatrix& w) {
  return {SpqrDeviceLayout(w.format, w.m, w.n), w.factor, w.dense.data(),
          w.row_offsets.empty() ? nullptr : w.row_offsets.data(), w.col_vals.data()};
}

// Of some of the tokens.
inline SpqrCall call_of(const SpqrProduct& product, std::int64_t first, std::int64_t tokens) {
  return {product.perm,
          product.bias,
          product.x.data + first * product.x.cols,
          product.y.data + first * product.y.cols,
          static_cast<std::int32_t>(tokens),
          product.store == Store::add};
}

// Where x'[column] lies in x.
__device__ __forceinline__ int source_column(const SpqrCall& call, int column) {
  return call.perm != nullptr ? static_cast<int>(call.perm[column]) : column;
}

__device__ __forceinline__ void store_y(const SpqrCall& call, std::int32_t m, int token, int row,
                                        float value) {
  float* y = call.y + std::int64_t{token} * m + row;
  if (call.bias != nullptr) value += call.bias[row];
  *y = call.add ? *y + value : value;
}

}  // namespace spqr::cuda
