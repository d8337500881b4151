// out[row] = sum_p softmax_p(scale q[row] . k[p] + alibi[p]) v[p] for many query rows, with keys and values
// in f16, on tensor cores: prompts.
//   q, out (tokens, heads, head_dim) f32   k, v (kv_heads, capacity, head_dim) f16, in 16-byte vectors
//   head_dim 8, 16 .. kWidth
// Reads the visible part of the cache once for every kRows query rows of a kv head; 8 rows keys head_dim
// operations of f16 products: bound by these. Writes out, or with several splits (head_dim + 2) f32 of each
// row and split.
// Work split: a block has kRows query rows of one kv head, a warp 16 of them; it goes through the keys that
// any of them sees, kKeys at a time, the next tile on its way to shared memory meanwhile. Tiles with the most
// keys come first.
// Products are as exact as f32 ones: a query, times the power of two that makes its largest value 2^14 ..
// 2^15, and a weight, times 2^15, are each the sum of two f16, high and low, which keep 22 bits of it.
// Accumulates in f32, in an order that depends on the shape alone.
// Source: arXiv 2307.08691 (FlashAttention-2).
#include <cstdint>

#include "kernels/cuda/device/attention_parts.cuh"
#include "kernels/cuda/device/instructions.cuh"
#include "kernels/cuda/device/reduce.cuh"
#include "kernels/cuda/device/shared_memory.cuh"
#include "kernels/cuda/launch.h"

namespace spqr::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kWarpRows = 16;
constexpr int kRows = kThreads / kWarpLanes * kWarpRows;
static_assert(kRows == kAttentionManyF16Rows);
constexpr int kLaneRows = 2;  // row g and g + 8 of a warp, g = lane / 4
constexpr int kKeys = 32;
constexpr int kPad = 8;  // halves: eight rows of a matrix start in different banks, 16-byte aligned
constexpr float kWeightScale = 0x1p15F;

// kWidth: dimensions that there is room for, 64 or 128.
template <int kWidth>
struct Tile {
  // Pairs of halves; zeros beyond head_dim and the last key.
  std::uint32_t k[kKeys][(kWidth + kPad) / 2];
  std::uint32_t v[kKeys][(kWidth + kPad) / 2];
};

// A lane's part of 16 queries: fragments of 16 dimensions each; `factor` turns products into scores.
template <int kWidth>
struct Queries {
  Fragment4 high[kWidth / 16];
  Fragment4 low[kWidth / 16];
  float factor[kLaneRows];
};

// sums[2 j] and [2 j + 1] have the even and the odd ones of dimensions 16 j .. 16 j + 15 in their columns.
template <int kWidth>
struct RunningSums {
  float maximum[kLaneRows] = {kMinusInfinity, kMinusInfinity};
  float total[kLaneRows] = {};  // of this lane's keys, times kWeightScale as the sums are
  Accumulator4 sums[kWidth / 8] = {};
};

struct HighLow {
  std::uint32_t high, low;
};

__device__ __forceinline__ HighLow high_low(float first, float second) {
  const std::uint32_t high = f32x2_to_f16x2(first, second);
  return {high, f32x2_to_f16x2(first - f16x2_low(high), second - f16x2_high(high))};
}

// Over the four lanes of a row.
__device__ __forceinline__ float row_max(float value) {
  value = fmaxf(value, __shfl_xor_sync(kWholeWarp, value, 1));
  return fmaxf(value, __shfl_xor_sync(kWholeWarp, value, 2));
}

__device__ __forceinline__ float row_sum(float value) {
  value += __shfl_xor_sync(kWholeWarp, value, 1);
  return value + __shfl_xor_sync(kWholeWarp, value, 2);
}

template <int kWidth>
__device__ __forceinline__ void load_queries(const AttentionArguments& a, Queries<kWidth>& queries,
                                             const QueryRow (&rows)[kLaneRows], int lane) {
#pragma unroll
  for (int r = 0; r < kLaneRows; ++r) {
    const float* q = a.q + rows[r].index(a) * a.head_dim;
    float values[kWidth / 4];  // dimensions 8 i + 2 (lane % 4) and the next
    float largest = 0;
#pragma unroll
    for (int i = 0; i < kWidth / 4; ++i) {
      const int dim = i / 2 * 8 + lane % 4 * 2 + i % 2;
      values[i] = rows[r].end > 0 && dim < a.head_dim ? q[dim] : 0.0F;
      largest = fmaxf(largest, fabsf(values[i]));
    }
    // The exponent of the largest, such that 2^(14 - exponent) and its inverse are normal numbers.
    constexpr int kBias = 127;
    constexpr int kExponent = 14;
    const int exponent =
        min(max(static_cast<int>(__float_as_uint(row_max(largest)) >> 23U), kExponent + 1), 2 * kBias);
    const float up = __uint_as_float(static_cast<std::uint32_t>(2 * kBias + kExponent - exponent) << 23U);
    queries.factor[r] = __uint_as_float(static_cast<std::uint32_t>(exponent - kExponent) << 23U) * a.scale;
#pragma unroll
    for (int i = 0; i < kWidth / 8; ++i) {
      const HighLow pair = high_low(values[2 * i] * up, values[2 * i + 1] * up);
      queries.high[i / 2].r[i % 2 * 2 + r] = pair.high;
      queries.low[i / 2].r[i % 2 * 2 + r] = pair.low;
    }
  }
}

// Starts copies of rows begin .. end of the kv head, at most kKeys of them.
template <int kWidth>
__device__ __forceinline__ void copy_tile(const AttentionArguments& a, Tile<kWidth>& tile, int begin,
                                          int end) {
  constexpr int kCopies = kWidth / kLoadedValues;  // of a row
  const std::int64_t first_cached = static_cast<std::int64_t>(blockIdx.z) * a.capacity;
#pragma unroll 4
  for (int i = static_cast<int>(threadIdx.x); i < kKeys * kCopies; i += kThreads) {
    const int key = begin + i / kCopies;
    const int dim = i % kCopies * kLoadedValues;
    const bool valid = key < end && dim < a.head_dim;
    // Also where nothing is read the address is one of the cache's.
    const std::int64_t row = first_cached + (valid ? key : 0);
    const int from = valid ? dim : 0;
    copy_async_16(&tile.k[i / kCopies][dim / 2], reinterpret_cast<const std::uint16_t*>(a.k.row(row)) + from,
                  valid);
    copy_async_16(&tile.v[i / kCopies][dim / 2], reinterpret_cast<const std::uint16_t*>(a.v.row(row)) + from,
                  valid);
  }
  copy_commit();
}

// products[j] = queries (16) times keys 8 j .. 8 j + 7
template <int kWidth>
__device__ __forceinline__ void multiply_keys(Accumulator4 (&products)[kKeys / 8], const Tile<kWidth>& tile,
                                              const Queries<kWidth>& queries, int lane) {
#pragma unroll
  for (int i = 0; i < kWidth / 16; ++i) {
#pragma unroll
    for (int j = 0; j < kKeys / 16; ++j) {
      // Matrices: keys 0 .. 7 of the sixteen, dimensions 0 .. 7 and 8 .. 15; keys 8 .. 15, the same.
      const Fragment4 keys =
          load_matrices(&tile.k[16 * j + lane / 16 * 8 + lane % 8][8 * i + lane / 8 % 2 * 4]);
      mma_k16(products[2 * j], queries.low[i], keys.r[0], keys.r[1]);
      mma_k16(products[2 * j], queries.high[i], keys.r[0], keys.r[1]);
      mma_k16(products[2 * j + 1], queries.low[i], keys.r[2], keys.r[3]);
      mma_k16(products[2 * j + 1], queries.high[i], keys.r[2], keys.r[3]);
    }
  }
}

// Products become weights times kWeightScale; sums so far are measured from the new maximum.
template <int kWidth>
__device__ __forceinline__ void weigh(const AttentionArguments& a, Accumulator4 (&products)[kKeys / 8],
                                      RunningSums<kWidth>& running, const Queries<kWidth>& queries,
                                      const QueryRow (&rows)[kLaneRows], KeyRange keys, int lane) {
#pragma unroll
  for (int r = 0; r < kLaneRows; ++r) {
    float largest = kMinusInfinity;
#pragma unroll
    for (int i = 0; i < kKeys / 4; ++i) {
      const int key = keys.begin + i / 2 * 8 + lane % 4 * 2 + i % 2;
      float& score = products[i / 2].c[2 * r + i % 2];
      score = key < keys.end ? score_of(a, rows[r], key, score * queries.factor[r]) : kMinusInfinity;
      largest = fmaxf(largest, score);
    }
    const float maximum = fmaxf(running.maximum[r], row_max(largest));
    const float origin = score_origin(maximum);
    const float shrink = exp2f(running.maximum[r] - origin);
    running.maximum[r] = maximum;
    running.total[r] *= shrink;
#pragma unroll
    for (Accumulator4& sum : running.sums) {
      sum.c[2 * r] *= shrink;
      sum.c[2 * r + 1] *= shrink;
    }
#pragma unroll
    for (int i = 0; i < kKeys / 4; ++i) {
      float& weight = products[i / 2].c[2 * r + i % 2];
      weight = exp2f(weight - origin) * kWeightScale;
      running.total[r] += weight;
    }
  }
}

// Adds the tile's values with their weights.
template <int kWidth>
__device__ __forceinline__ void accumulate(RunningSums<kWidth>& running,
                                           const Accumulator4 (&weights)[kKeys / 8], const Tile<kWidth>& tile,
                                           int lane) {
  constexpr std::uint32_t kLowHalves = 0x5410;
  constexpr std::uint32_t kHighHalves = 0x7632;
#pragma unroll
  for (int j = 0; j < kKeys / 16; ++j) {
    Fragment4 high;
    Fragment4 low;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const Accumulator4& from = weights[2 * j + i / 2];
      const HighLow pair = high_low(from.c[i % 2 * 2], from.c[i % 2 * 2 + 1]);
      high.r[i] = pair.high;
      low.r[i] = pair.low;
    }
    const int key = 16 * j + lane % 4 * 2;
#pragma unroll
    for (int i = 0; i < kWidth / 16; ++i) {
      // Two dimensions of keys 2 t, 2 t + 1 and 2 t + 8, 2 t + 9; a column of a fragment has one dimension.
      const int pair = 8 * i + lane / 4;
      const std::uint32_t v0 = tile.v[key][pair];
      const std::uint32_t v1 = tile.v[key + 1][pair];
      const std::uint32_t v8 = tile.v[key + 8][pair];
      const std::uint32_t v9 = tile.v[key + 9][pair];
      const std::uint32_t even[2] = {permute_bytes(v0, v1, kLowHalves), permute_bytes(v8, v9, kLowHalves)};
      const std::uint32_t odd[2] = {permute_bytes(v0, v1, kHighHalves), permute_bytes(v8, v9, kHighHalves)};
      mma_k16(running.sums[2 * i], low, even[0], even[1]);
      mma_k16(running.sums[2 * i], high, even[0], even[1]);
      mma_k16(running.sums[2 * i + 1], low, odd[0], odd[1]);
      mma_k16(running.sums[2 * i + 1], high, odd[0], odd[1]);
    }
  }
}

template <int kWidth>
__device__ __forceinline__ void store_rows(const AttentionArguments& a, const RunningSums<kWidth>& running,
                                           const QueryRow (&rows)[kLaneRows], int lane) {
#pragma unroll
  for (int r = 0; r < kLaneRows; ++r) {
    const float total = row_sum(running.total[r]);
#pragma unroll
    for (int i = 0; i < kWidth / 4; ++i) {
      const int dim = i / 4 * 16 + lane % 4 * 4 + i % 4;
      const float sum = running.sums[i / 4 * 2 + i % 2].c[2 * r + i % 4 / 2];
      if (rows[r].end > 0 && dim < a.head_dim) store_part(a, rows[r], dim, running.maximum[r], total, sum);
    }
  }
}

template <int kWidth>
__global__ void attend_many_f16(AttentionArguments a) {
  auto* tiles = shared_memory<Tile<kWidth>>();  // two
  const int first = first_position(a.first);
  const int first_row = static_cast<int>(gridDim.x - 1 - blockIdx.x) * kRows;
  const KeyRange range = split_keys(a, first, first_row, min(first_row + kRows, a.rows()));
  copy_tile(a, tiles[0], range.begin, range.end);

  const int warp = static_cast<int>(threadIdx.x) / kWarpLanes;
  const int lane = static_cast<int>(threadIdx.x) % kWarpLanes;
  QueryRow rows[kLaneRows];
#pragma unroll
  for (int r = 0; r < kLaneRows; ++r) {
    rows[r] = query_row(a, first, static_cast<int>(blockIdx.z),
                        first_row + warp * kWarpRows + lane / 4 + r * kWarpRows / 2);
  }
  Queries<kWidth> queries;
  load_queries(a, queries, rows, lane);
  RunningSums<kWidth> running;
  int stage = 0;
  for (int key = range.begin; key < range.end; key += kKeys) {
    copy_tile(a, tiles[1 - stage], key + kKeys, range.end);
    copy_wait<1>();
    __syncthreads();  // all threads' copies of this tile have arrived
    Accumulator4 products[kKeys / 8] = {};
    multiply_keys(products, tiles[stage], queries, lane);
    weigh(a, products, running, queries, rows, {key, min(key + kKeys, range.end)}, lane);
    accumulate(running, products, tiles[stage], lane);
    __syncthreads();  // the tile has been read
    stage = 1 - stage;
  }
  copy_wait<0>();
  store_rows(a, running, rows, lane);
}

template <int kWidth>
void launch_many(const Gpu& gpu, const AttentionArguments& a) {
  launch(gpu, "attention_many_f16", attend_many_f16<kWidth>,
         {attention_grid(a, kRows), dim3(kThreads), 2 * sizeof(Tile<kWidth>)}, a);
}

}  // namespace

bool attention_many_f16_takes(const AttentionArguments& a) {
  return a.k.type == CacheType::f16 && a.v.type == CacheType::f16 && a.k.in_vectors && a.v.in_vectors &&
         a.head_dim <= 128;
}

void attention_many_f16(const Gpu& gpu, const AttentionArguments& a) {
  a.head_dim <= 64 ? launch_many<64>(gpu, a) : launch_many<128>(gpu, a);
}

}  // namespace spqr::cuda
