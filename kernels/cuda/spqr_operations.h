// The pieces of operations on packed weights: what CudaBackend uploads them with, and what spqr_linear and
// embed are put together from. Pointers are of device memory; kernels are queued in gpu.stream.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/activation_type.h"
#include "kernels/cuda/gpu.h"
#include "kernels/cuda/operations.h"
#include "kernels/cuda/scratch_sizes.h"
#include "kernels/spqr_matrix.h"

namespace spqr::cuda {

// Strips first_strip .. first_strip + strips - 1, 64 rows each, of `matrix`: from the file's layout
// (kernels/spqr_layout.h), `file_dense` being where the first of them begins, at any alignment, to
// SpqrDeviceLayout in `device_dense`, which is that of the whole matrix and 256-byte aligned. Of `matrix`
// only format and extents are read.
void retile(const Gpu& gpu, const SpqrMatrix& matrix, std::int64_t first_strip, std::int64_t strips,
            const std::byte* file_dense, std::byte* device_dense);

// x[t] = row ids[t] of a packed table, in its stored column order.   x (tokens, n)
void embed_packed(const Gpu& gpu, Matrix x, const SpqrMatrix& table, const std::int32_t* ids);

// y (+)= W x' + bias, x'[t][j] = x[t][perm[j]].   x (tokens, n), y (tokens, m); perm and bias may be null.
struct SpqrProduct {
  SpqrMatrix w;
  const std::uint32_t* perm;
  const float* bias;
  Matrix x;
  Matrix y;
  Store store;
};

// 1 .. kMatvecTokens tokens, in f32.
void spqr_matvec(const Gpu& gpu, const SpqrProduct& product, std::byte* scratch);

// Any number of tokens. scratch: for the kMatmulTokens or fewer that are worked on at a time.
void spqr_matmul(const Gpu& gpu, const SpqrProduct& product, ActivationType activations, std::byte* scratch);

}  // namespace spqr::cuda
