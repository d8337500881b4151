// The end of every dense product.
#pragma once

#include "kernels/cuda/cuda_api.h"
#include "kernels/cuda/dense_linear.h"

namespace spqr::cuda {

// `sum` is that of row `row` of W and token `token` of x, both within bounds.
__device__ __forceinline__ void store_product(const DenseProduct& p, std::int64_t token, std::int64_t row,
                                              float sum) {
  float* y = p.y + token * p.m + row;
  if (p.bias != nullptr) sum += p.bias[row];
  *y = p.add ? *y + sum : sum;
}

}  // namespace spqr::cuda
