// y (+)= W x + b for few tokens.
//   W (m, n) f32, f16 or bf16   x (tokens, n)   y (tokens, m)   b (m) or none; all f32; any m, n, tokens
// Reads W once per 8 tokens, from memory the first time and from the L2 cache then; x comes from the L1
// cache: bandwidth-bound.
// Work split: a warp per kRows rows of W and up to 8 tokens; a lane takes 16 bytes of each row at a time
// where rows are aligned, else one weight. Accumulates in f32, in an order that depends on n alone.
#include <algorithm>

#include "kernels/cuda/device/dense_result.cuh"
#include "kernels/cuda/device/reduce.cuh"
#include "kernels/cuda/device/values.cuh"
#include "kernels/cuda/launch.h"

namespace spqr::cuda {
namespace {

constexpr int kWarps = 4;  // of a block
constexpr std::int64_t kMostTokens = 8;

// More rows share what a warp reads of x, and take registers, of which 8 tokens leave enough for two.
template <int kTokens>
constexpr int kRows = kTokens == 4 ? 4 : 2;

// kTokens tokens from `first` on, of which those past the last are read as if they were the last.
template <int kTokens>
struct Inputs {
  const float* rows[kTokens];
  __device__ Inputs(const DenseProduct& p, std::int64_t first) {
#pragma unroll
    for (int t = 0; t < kTokens; ++t) rows[t] = p.x + min(first + t, p.tokens - 1) * p.n;
  }
};

template <DType kType, int kTokens>
__device__ __forceinline__ void add_aligned(
    float (&sums)[kRows<kTokens>][kTokens],
    const typename Dense<kType>::Stored* const (&weights)[kRows<kTokens>], const Inputs<kTokens>& x,
    std::int64_t n, int lane) {
  constexpr int kWide = Dense<kType>::kWide;
#pragma unroll(kTokens <= 2 ? 4 : 1)
  for (std::int64_t column = lane * kWide; column < n; column += kWarpLanes * kWide) {
    uint4 stored[kRows<kTokens>];
#pragma unroll
    for (int r = 0; r < kRows<kTokens>; ++r)
      stored[r] = load_stream(reinterpret_cast<const uint4*>(weights[r] + column));
#pragma unroll
    for (int t = 0; t < kTokens; ++t) {
      const Values<kWide> inputs = load_values<kWide>(x.rows[t] + column);
#pragma unroll
      for (int r = 0; r < kRows<kTokens>; ++r) {
        const Values<kWide> w = widen<kType>(stored[r]);
#pragma unroll
        for (int k = 0; k < kWide; ++k) sums[r][t] = fmaf(w.v[k], inputs.v[k], sums[r][t]);
      }
    }
  }
}

template <DType kType, int kTokens>
__device__ __forceinline__ void add_ragged(
    float (&sums)[kRows<kTokens>][kTokens],
    const typename Dense<kType>::Stored* const (&weights)[kRows<kTokens>], const Inputs<kTokens>& x,
    std::int64_t n, int lane) {
  for (std::int64_t column = lane; column < n; column += kWarpLanes) {
#pragma unroll
    for (int r = 0; r < kRows<kTokens>; ++r) {
      const float w = Dense<kType>::widen(weights[r][column]);
#pragma unroll
      for (int t = 0; t < kTokens; ++t) sums[r][t] = fmaf(w, x.rows[t][column], sums[r][t]);
    }
  }
}

template <DType kType, bool kAligned, int kTokens>
__global__ void __launch_bounds__(kWarps* kWarpLanes, 3)
    dense_matvec_kernel(DenseProduct p, int token_groups) {
  constexpr int kOwnRows = kRows<kTokens>;
  using Stored = typename Dense<kType>::Stored;
  const int lane = static_cast<int>(threadIdx.x) % kWarpLanes;
  // Blocks of the same rows are neighbours, so that the L2 cache has the rows for all but the first.
  const std::int64_t first_token = static_cast<std::int64_t>(blockIdx.x % token_groups) * kTokens;
  const std::int64_t warp =
      static_cast<std::int64_t>(blockIdx.x / token_groups) * kWarps + threadIdx.x / kWarpLanes;
  const std::int64_t first_row = warp * kOwnRows;
  if (first_row >= p.m) return;  // whole warps
  const Inputs<kTokens> x(p, first_token);
  const Stored* weights[kOwnRows];
  float sums[kOwnRows][kTokens] = {};
#pragma unroll
  for (int r = 0; r < kOwnRows; ++r)
    weights[r] = static_cast<const Stored*>(p.weight) + min(first_row + r, p.m - 1) * p.n;
  if constexpr (kAligned) {
    add_aligned<kType, kTokens>(sums, weights, x, p.n, lane);
  } else {
    add_ragged<kType, kTokens>(sums, weights, x, p.n, lane);
  }
#pragma unroll
  for (int r = 0; r < kOwnRows; ++r) {
#pragma unroll
    for (int t = 0; t < kTokens; ++t) {
      const float sum = warp_sum(sums[r][t]);
      if (lane == 0 && first_row + r < p.m && first_token + t < p.tokens)
        store_product(p, first_token + t, first_row + r, sum);
    }
  }
}

template <DType kType, int kTokens>
void launch_matvec(const Gpu& gpu, const DenseProduct& p) {
  const std::int64_t groups = ceil_div(p.tokens, kTokens);
  const std::int64_t blocks = ceil_div(p.m, std::int64_t{kWarps} * kRows<kTokens>) * groups;
  launch(gpu, "dense_matvec",
         p.aligned ? dense_matvec_kernel<kType, true, kTokens> : dense_matvec_kernel<kType, false, kTokens>,
         {dim3(static_cast<unsigned>(blocks)), dim3(kWarps * kWarpLanes)}, p, groups);
}

template <DType kType>
void matvec_of(const Gpu& gpu, const DenseProduct& p) {
  if (p.tokens == 1) {
    launch_matvec<kType, 1>(gpu, p);
  } else if (p.tokens == 2) {
    launch_matvec<kType, 2>(gpu, p);
  } else if (p.tokens <= 4) {
    launch_matvec<kType, 4>(gpu, p);
  } else {
    launch_matvec<kType, kMostTokens>(gpu, p);
  }
}

}  // namespace

void dense_matvec(const Gpu& gpu, const DenseProduct& product) {
  if (product.type == DType::f32) {
    matvec_of<DType::f32>(gpu, product);
  } else if (product.type == DType::f16) {
    matvec_of<DType::f16>(gpu, product);
  } else {
    matvec_of<DType::bf16>(gpu, product);
  }
}

}  // namespace spqr::cuda
