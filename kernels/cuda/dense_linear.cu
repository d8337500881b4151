// y (+)= W x + b for a dense weight: chooses the kernel.
//   W (m, n) f32, f16 or bf16   x (tokens, n)   y (tokens, m)   b (m) or none; all f32
#include "kernels/cuda/dense_linear.h"

#include "kernels/cuda/device/values.cuh"
#include "kernels/cuda/operations.h"

namespace spqr::cuda {

void dense_linear(const Gpu& gpu, Matrix y, const Linear& weight, Matrix x, Store store) {
  const auto& dense = std::get<TensorView>(weight.weight);
  DenseProduct product;
  product.y = y.data;
  product.weight = dense.data;
  product.x = x.data;
  product.bias = weight.bias.empty() ? nullptr : weight.bias.data();
  product.type = dense.dtype;
  product.add = store == Store::add;
  product.m = weight.m();
  product.n = weight.n();
  product.tokens = x.rows;
  const auto n = static_cast<std::size_t>(product.n);
  product.aligned = is_aligned(dense.data, n * size_of(dense.dtype)) && is_aligned(x.data, n * sizeof(float));
  // A tile of the other two has room for 64 tokens; with few of them reading W again from the L2 cache is
  // faster.
  const bool halves = product.type == DType::f16;
  if (product.tokens <= (halves ? 16 : 32)) {
    dense_matvec(gpu, product);
  } else if (halves) {
    dense_matmul_f16(gpu, product);
  } else {
    dense_matmul(gpu, product);
  }
}

}  // namespace spqr::cuda
