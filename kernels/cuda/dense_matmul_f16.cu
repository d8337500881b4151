// y (+)= W x + b for f16 weights and many tokens, on tensor cores, as good as in f32.
//   W (m, n) f16   x (tokens, n)   y (tokens, m)   b (m) or none; all f32; any m, n, tokens
// x is the sum of two halves, hi = f16(s x) and lo = f16(s x - hi), with s a power of two for every token and
// panel of 64 columns that brings the largest to 2^14 .. 2^15: nothing overflows, and what is lost is 2^-22
// of x, or 2^-39 of the largest in its panel if that is more. The products of a panel are exact and their sum
// in f32 is divided by s as it is added to that of the panels before. 4 m n tokens operations of tensor
// cores; reads W once per 64 tokens and x once per 128 rows: compute-bound. Work split: a block per 128 rows
// x 64 tokens, a warp per 32 x 32 of them; a panel of W and of both halves of x lies in shared memory. Source
// of the two halves: arXiv 2203.03341.
#include "kernels/cuda/device/dense_result.cuh"
#include "kernels/cuda/device/reduce.cuh"
#include "kernels/cuda/device/shared_memory.cuh"
#include "kernels/cuda/device/values.cuh"
#include "kernels/cuda/launch.h"

namespace spqr::cuda {
namespace {

constexpr int kRows = 128;
constexpr int kTokens = 64;
constexpr int kColumns = 64;  // of a panel
constexpr int kThreads = 256;
constexpr int kWarpTile = 32;                   // rows, and tokens, of a warp
constexpr int kEight = 8;                       // halves of 16 bytes
constexpr int kStride = kColumns / kEight + 1;  // 144 bytes: eight rows begin in different banks
constexpr int kRowTiles = kWarpTile / 16;       // of mma_k16
constexpr int kTokenTiles = kWarpTile / 8;
constexpr int kInputs = kTokens * kColumns / kThreads;  // numbers of x that a thread brings
constexpr int kThreadsPerToken = kColumns / kInputs;

struct Panel {
  uint4 weight[kRows][kStride];  // eight columns each
  uint4 high[kTokens][kStride];
  uint4 low[kTokens][kStride];
  float inverse_scale[kTokens];
};
static_assert(sizeof(Panel) <= std::size_t{48} << 10U);

using Sums = Accumulator4[kRowTiles][kTokenTiles];

// kEight weights of `row` from `column` on; zeros past n and where there is no such row.
__device__ __forceinline__ uint4 load_weights(const DenseProduct& p, std::int64_t row, std::int64_t column) {
  if (row >= p.m) return make_uint4(0, 0, 0, 0);
  const auto* from = static_cast<const std::uint16_t*>(p.weight) + row * p.n + column;
  if (p.aligned && column + kEight <= p.n) return *reinterpret_cast<const uint4*>(from);
  std::uint32_t words[kEight / 2] = {};
#pragma unroll
  for (int i = 0; i < kEight; ++i) {
    if (column + i < p.n) words[i / 2] |= static_cast<std::uint32_t>(from[i]) << (i % 2 * 16);
  }
  return make_uint4(words[0], words[1], words[2], words[3]);
}

// kInputs numbers of a token in the same way.
__device__ __forceinline__ Values<kInputs> load_inputs(const DenseProduct& p, std::int64_t token,
                                                       std::int64_t column) {
  Values<kInputs> values = {};
  if (token >= p.tokens) return values;
  const float* from = p.x + token * p.n + column;
  if (p.aligned && column + kInputs <= p.n) return load_values<kInputs>(from);
#pragma unroll
  for (int i = 0; i < kInputs; ++i) {
    if (column + i < p.n) values.v[i] = from[i];
  }
  return values;
}

__device__ __forceinline__ void bring_weight(Panel& panel, const DenseProduct& p, std::int64_t first_row,
                                             std::int64_t column) {
#pragma unroll
  for (int i = 0; i < kRows * kColumns / kEight; i += kThreads) {
    const int part = i + static_cast<int>(threadIdx.x);
    const int row = part / (kColumns / kEight);
    const int at = part % (kColumns / kEight);
    panel.weight[row][at] = load_weights(p, first_row + row, column + at * kEight);
  }
}

// The exponent, as it stands in an f32, of the scale that brings `largest` to 2^14 .. 2^15; scales stop at
// 2^126, whose inverse is a normal number.
__device__ __forceinline__ std::uint32_t scale_exponent(float largest) {
  constexpr std::uint32_t kBias = 127;
  return min(2 * kBias + 14 - (__float_as_uint(largest) >> 23U), kBias + 126);
}

// Two neighbours of x, scaled: their hi and lo.
struct Halves {
  std::uint32_t high;
  std::uint32_t low;
};
__device__ __forceinline__ Halves split(float a, float b) {
  constexpr std::uint32_t kExponent = 0x7C00U;  // all ones: infinite or NaN, to which nothing is added
  const std::uint32_t high = f32x2_to_f16x2(a, b);
  const float rest_a = (high & kExponent) == kExponent ? 0.0F : a - f16x2_low(high);
  const float rest_b = (high >> 16U & kExponent) == kExponent ? 0.0F : b - f16x2_high(high);
  return {high, f32x2_to_f16x2(rest_a, rest_b)};
}

__device__ __forceinline__ void bring_input(Panel& panel, const DenseProduct& p, std::int64_t first_token,
                                            std::int64_t column) {
  const int token = static_cast<int>(threadIdx.x) / kThreadsPerToken;
  const int at = static_cast<int>(threadIdx.x) % kThreadsPerToken * kInputs;
  const Values<kInputs> values = load_inputs(p, first_token + token, column + at);
  float largest = 0;
#pragma unroll
  for (int i = 0; i < kInputs; ++i) largest = fmaxf(largest, fabsf(values.v[i]));
  for (int step = kThreadsPerToken / 2; step > 0; step /= 2)
    largest = fmaxf(largest, __shfl_xor_sync(kWholeWarp, largest, step));
  const std::uint32_t exponent = scale_exponent(largest);
  const float scale = __uint_as_float(exponent << 23U);
  if (at == 0) panel.inverse_scale[token] = __uint_as_float((254U - exponent) << 23U);
#pragma unroll
  for (int i = 0; i < kInputs; i += kEight) {
    Halves halves[4];
#pragma unroll
    for (int k = 0; k < 4; ++k)
      halves[k] = split(values.v[i + 2 * k] * scale, values.v[i + 2 * k + 1] * scale);
    panel.high[token][(at + i) / kEight] =
        make_uint4(halves[0].high, halves[1].high, halves[2].high, halves[3].high);
    panel.low[token][(at + i) / kEight] =
        make_uint4(halves[0].low, halves[1].low, halves[2].low, halves[3].low);
  }
}

// sums += W x^T for 16 columns from `column` on, x being one of the halves.
__device__ __forceinline__ void multiply(Sums& sums, const Fragment4 (&weight)[kRowTiles],
                                         const uint4 (&x)[kTokens][kStride], int warp_token, int column,
                                         int lane) {
#pragma unroll
  for (int pair = 0; pair < kTokenTiles; pair += 2) {
    // Matrices: columns 0..7 and 8..15 of eight tokens, and of the next eight.
    const int token = warp_token + pair * 8 + lane / 16 * 8 + lane % 8;
    const Fragment4 inputs = load_matrices(&x[token][column / kEight + lane / 8 % 2]);
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) {
      mma_k16(sums[r][pair], weight[r], inputs.r[0], inputs.r[1]);
      mma_k16(sums[r][pair + 1], weight[r], inputs.r[2], inputs.r[3]);
    }
  }
}

__device__ __forceinline__ void add_panel(Sums& sums, const Panel& panel, int warp_row, int warp_token,
                                          int lane) {
  Sums products = {};
#pragma unroll 1  // unrolled, registers spill
  for (int column = 0; column < kColumns; column += 16) {
    Fragment4 weight[kRowTiles];
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) {
      // Matrices: rows 0..7 and 8..15 of eight columns, and of the next eight.
      weight[r] = load_matrices(&panel.weight[warp_row + r * 16 + lane % 16][column / kEight + lane / 16]);
    }
    multiply(products, weight, panel.low, warp_token, column, lane);
    multiply(products, weight, panel.high, warp_token, column, lane);
  }
#pragma unroll
  for (int t = 0; t < kTokenTiles; ++t) {
    const int token = warp_token + t * 8 + lane % 4 * 2;
    const float inverse[2] = {panel.inverse_scale[token], panel.inverse_scale[token + 1]};
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) {
#pragma unroll
      for (int i = 0; i < 4; ++i)
        sums[r][t].c[i] = fmaf(products[r][t].c[i], inverse[i % 2], sums[r][t].c[i]);
    }
  }
}

__global__ void __launch_bounds__(kThreads, 2) dense_matmul_f16_kernel(DenseProduct p) {
  auto& panel = *shared_memory<Panel>();
  const std::int64_t first_row = static_cast<std::int64_t>(blockIdx.x) * kRows;
  const std::int64_t first_token = static_cast<std::int64_t>(blockIdx.y) * kTokens;
  const int warp = static_cast<int>(threadIdx.x) / kWarpLanes;
  const int lane = static_cast<int>(threadIdx.x) % kWarpLanes;
  const int warp_row = warp % (kRows / kWarpTile) * kWarpTile;
  const int warp_token = warp / (kRows / kWarpTile) * kWarpTile;
  Sums sums = {};
  for (std::int64_t column = 0; column < p.n; column += kColumns) {
    __syncthreads();
    bring_weight(panel, p, first_row, column);
    bring_input(panel, p, first_token, column);
    __syncthreads();
    add_panel(sums, panel, warp_row, warp_token, lane);
  }
#pragma unroll
  for (int r = 0; r < kRowTiles; ++r) {
#pragma unroll
    for (int t = 0; t < kTokenTiles; ++t) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const std::int64_t row = first_row + warp_row + r * 16 + lane / 4 + i / 2 * 8;
        const std::int64_t token = first_token + warp_token + t * 8 + lane % 4 * 2 + i % 2;
        if (row < p.m && token < p.tokens) store_product(p, token, row, sums[r][t].c[i]);
      }
    }
  }
}

}  // namespace

void dense_matmul_f16(const Gpu& gpu, const DenseProduct& product) {
  launch(gpu, "dense_matmul_f16", dense_matmul_f16_kernel,
         {dim3(static_cast<unsigned>(ceil_div(product.m, kRows)),
               static_cast<unsigned>(ceil_div(product.tokens, kTokens))),
          dim3(kThreads), sizeof(Panel)},
         product);
}

}  // namespace spqr::cuda
