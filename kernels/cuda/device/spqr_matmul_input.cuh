// Activations as spqr_matmul reads them: made once for all strips.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/device/spqr_call.cuh"

namespace spqr::cuda {

// Tokens are padded to tiles of 64, columns to panels; what pads is zero. x' is x in the matrix's column
// order.
struct MatmulInput {
  std::uint32_t* hi;     // (tokens, columns / 2): pairs of f16, x' scale rounded
  std::uint32_t* lo;     // the same: what rounding left, rounded; null: not needed
  float* transposed;     // (columns, tokens): x', for outliers; null: not needed
  float* scale;          // (tokens): powers of two
  float* scale_inverse;  // (tokens)
  std::int32_t tokens;   // padded
  std::int32_t columns;  // padded
};

// The parts of scratch.
MatmulInput matmul_input(std::byte* scratch, std::int64_t tokens, std::int64_t n);
void prepare_matmul_input(const Gpu& gpu, const SpqrCall& call, std::int32_t n, const MatmulInput& input);

}  // namespace spqr::cuda
