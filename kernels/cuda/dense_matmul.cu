// y (+)= W x + b for many tokens, in f32 without tensor cores.
//   W (m, n) f32 or bf16   x (tokens, n)   y (tokens, m)   b (m) or none; all f32; any m, n, tokens
// 2 m n tokens operations; reads W once per 64 tokens and x once per 64 rows: compute-bound.
// Work split: a block per 64 rows x 64 tokens, a thread per 8 x 4 of them. 16 columns at a time lie in shared
// memory, widened and with columns outermost, while the next 16 are on their way to registers. Accumulates in
// f32, column after column.
#include "kernels/cuda/device/dense_result.cuh"
#include "kernels/cuda/device/shared_memory.cuh"
#include "kernels/cuda/device/values.cuh"
#include "kernels/cuda/launch.h"

namespace spqr::cuda {
namespace {

constexpr int kTile = 64;  // rows of W, and tokens
constexpr int kColumns = 16;
constexpr int kPart = 8;  // columns of a row that a thread brings
constexpr int kOwnRows = 8;
constexpr int kOwnTokens = 4;
constexpr int kThreads = kTile / kOwnRows * (kTile / kOwnTokens);
static_assert(kThreads == kTile * kColumns / kPart, "a thread brings one part of W and one of x");

struct Tiles {
  float weight[kColumns][kTile];
  float x[kColumns][kTile];
};

// kPart numbers of `row` from `column` on; zeros past n and where there is no such row.
template <DType kType>
__device__ __forceinline__ Values<kPart> load_part(const void* matrix, std::int64_t row, std::int64_t rows,
                                                   std::int64_t column, std::int64_t n, bool is_aligned) {
  using Stored = typename Dense<kType>::Stored;
  constexpr int kWide = Dense<kType>::kWide;
  Values<kPart> part = {};
  if (row >= rows) return part;
  const Stored* from = static_cast<const Stored*>(matrix) + row * n + column;
  if (is_aligned && column + kPart <= n) {
#pragma unroll
    for (int i = 0; i < kPart; i += kWide) {
      const Values<kWide> values = widen<kType>(*reinterpret_cast<const uint4*>(from + i));
#pragma unroll
      for (int k = 0; k < kWide; ++k) part.v[i + k] = values.v[k];
    }
  } else {
#pragma unroll
    for (int i = 0; i < kPart; ++i) {
      if (column + i < n) part.v[i] = Dense<kType>::widen(from[i]);
    }
  }
  return part;
}

__device__ __forceinline__ void add_products(float (&sums)[kOwnRows][kOwnTokens], const Tiles& tiles,
                                             int first_row, int first_token) {
#pragma unroll
  for (int c = 0; c < kColumns; ++c) {
    const Values<kOwnRows> w = load_values<kOwnRows>(&tiles.weight[c][first_row]);
    const Values<kOwnTokens> x = load_values<kOwnTokens>(&tiles.x[c][first_token]);
#pragma unroll
    for (int r = 0; r < kOwnRows; ++r) {
#pragma unroll
      for (int t = 0; t < kOwnTokens; ++t) sums[r][t] = fmaf(w.v[r], x.v[t], sums[r][t]);
    }
  }
}

template <DType kType>
__global__ void __launch_bounds__(kThreads) dense_matmul_kernel(DenseProduct p) {
  auto& tiles = *shared_memory<Tiles>();
  const std::int64_t tile_row = static_cast<std::int64_t>(blockIdx.x) * kTile;
  const std::int64_t tile_token = static_cast<std::int64_t>(blockIdx.y) * kTile;
  const int thread = static_cast<int>(threadIdx.x);
  // Of a warp 32 rows, so that it writes to 32 banks.
  const int own = thread % kTile;
  const int part = thread / kTile * kPart;
  const int first_row = thread % (kTile / kOwnRows) * kOwnRows;
  const int first_token = thread / (kTile / kOwnRows) * kOwnTokens;
  float sums[kOwnRows][kOwnTokens] = {};
  Values<kPart> w = load_part<kType>(p.weight, tile_row + own, p.m, part, p.n, p.aligned);
  Values<kPart> x = load_part<DType::f32>(p.x, tile_token + own, p.tokens, part, p.n, p.aligned);
  for (std::int64_t column = 0; column < p.n; column += kColumns) {
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kPart; ++i) {
      tiles.weight[part + i][own] = w.v[i];
      tiles.x[part + i][own] = x.v[i];
    }
    __syncthreads();
    const std::int64_t next = column + kColumns + part;
    w = load_part<kType>(p.weight, tile_row + own, p.m, next, p.n, p.aligned);
    x = load_part<DType::f32>(p.x, tile_token + own, p.tokens, next, p.n, p.aligned);
    add_products(sums, tiles, first_row, first_token);
  }
#pragma unroll
  for (int t = 0; t < kOwnTokens; ++t) {
#pragma unroll
    for (int r = 0; r < kOwnRows; ++r) {
      const std::int64_t row = tile_row + first_row + r;
      const std::int64_t token = tile_token + first_token + t;
      if (row < p.m && token < p.tokens) store_product(p, token, row, sums[r][t]);
    }
  }
}

}  // namespace

void dense_matmul(const Gpu& gpu, const DenseProduct& product) {
  auto* kernel =
      product.type == DType::f32 ? dense_matmul_kernel<DType::f32> : dense_matmul_kernel<DType::bf16>;
  launch(gpu, "dense_matmul", kernel,
         {dim3(static_cast<unsigned>(ceil_div(product.m, kTile)),
               static_cast<unsigned>(ceil_div(product.tokens, kTile))),
          dim3(kThreads), sizeof(Tiles)},
         product);
}

}  // namespace spqr::cuda
