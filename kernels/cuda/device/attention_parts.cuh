// What the attention kernels share: their arguments, which cache rows a query sees, and what becomes of a
// part of the keys.
//
// A kv head's query rows are the (token, head) pairs that read it, row = token * heads_per_kv + head in the
// group: a tile of them shares every key that is loaded. Scores are of base 2, q k scale log2(e) + alibi
// log2(e), so that weights are exp2. Where keys are split, a row's part is its largest score, its sum of
// weights and its weighted sum of values, put together by attention_combine.cu in the order of the parts.
#pragma once

#include <climits>
#include <cstdint>

#include "kernels/cuda/cuda_api.h"
#include "kernels/cuda/device/cache_load.cuh"
#include "kernels/cuda/gpu.h"
#include "kernels/cuda/scratch_sizes.h"

namespace spqr::cuda {

inline constexpr float kLog2E = 1.44269504F;
inline constexpr float kMinusInfinity = -__builtin_inff();

struct AttentionArguments {
  float* out = nullptr;      // (tokens, heads, head_dim)
  const float* q = nullptr;  // the same
  CacheView k, v;
  std::int64_t capacity = 0;     // cache rows of a kv head
  const float* alibi = nullptr;  // (heads, alibi_cols), or null
  std::int64_t alibi_cols = 0;
  Position first;
  int tokens = 0, heads = 0, heads_per_kv = 0, head_dim = 0;
  int window = INT_MAX;               // cache rows that a token sees at most
  float scale = 0;                    // times log2(e)
  int splits = 1;                     // that the keys are cut into
  int least_keys = 1;                 // of a split, but for the last
  float2* part_statistics = nullptr;  // (tokens, heads, splits): largest score, sum of weights
  float* part_sums = nullptr;         // (tokens, heads, splits, head_dim)

  __host__ __device__ int rows() const { return tokens * heads_per_kv; }  // of a kv head
};

struct KeyRange {
  int begin, end;
};

// The cache rows begin .. end that a query row sees; none where it is beyond the last row.
struct QueryRow {
  int begin, end;
  int head;
  int token;

  __device__ __forceinline__ bool sees(int key) const { return key >= begin && key < end; }
  // (token, head) of (tokens, heads)
  __device__ __forceinline__ std::int64_t index(const AttentionArguments& a) const {
    return static_cast<std::int64_t>(token) * a.heads + head;
  }
};

__device__ __forceinline__ int first_position(const Position& first) {
  return static_cast<int>(first.offset) + (first.base == nullptr ? 0 : *first.base);
}

__device__ __forceinline__ QueryRow query_row(const AttentionArguments& a, int first, int kv_head, int row) {
  if (row >= a.rows()) return {0, 0, 0, 0};
  const int token = row / a.heads_per_kv;
  const int end = first + token + 1;
  return {max(0, end - a.window), end, kv_head * a.heads_per_kv + row % a.heads_per_kv, token};
}

// The keys of split blockIdx.y that any of the rows begin .. end (not empty) sees; may be empty.
__device__ __forceinline__ KeyRange split_keys(const AttentionArguments& a, int first, int begin, int end) {
  const int first_key = max(0, first + begin / a.heads_per_kv + 1 - a.window);
  const int end_key = first + (end - 1) / a.heads_per_kv + 1;
  const int keys = max((end_key - first_key + a.splits - 1) / a.splits, a.least_keys);
  const int from = min(first_key + static_cast<int>(blockIdx.y) * keys, end_key);
  return {from, min(from + keys, end_key)};
}

__device__ __forceinline__ float score_of(const AttentionArguments& a, const QueryRow& row, int key,
                                          float product) {
  if (!row.sees(key)) return kMinusInfinity;
  if (a.alibi == nullptr) return product;
  return fmaf(a.alibi[row.head * a.alibi_cols + key], kLog2E, product);
}

// What scores are measured from: their maximum, or anything where there are none, which have no weight.
__device__ __forceinline__ float score_origin(float maximum) {
  return maximum == kMinusInfinity ? 0.0F : maximum;
}

// Value `dim` of a row's result, or of its part where keys are split.
__device__ __forceinline__ void store_part(const AttentionArguments& a, const QueryRow& row, int dim,
                                           float maximum, float total, float sum) {
  if (a.splits == 1) {
    a.out[row.index(a) * a.head_dim + dim] = sum / total;
    return;
  }
  const std::int64_t part = row.index(a) * a.splits + static_cast<int>(blockIdx.y);
  a.part_sums[part * a.head_dim + dim] = sum;
  if (dim == 0) a.part_statistics[part] = make_float2(maximum, total);
}

// The grid of the kernels that attend, for tiles of `tile_rows` query rows.
inline dim3 attention_grid(const AttentionArguments& a, int tile_rows) {
  const int tiles = (a.rows() + tile_rows - 1) / tile_rows;
  const int kv_heads = a.heads / a.heads_per_kv;
  return {static_cast<unsigned>(tiles), static_cast<unsigned>(a.splits), static_cast<unsigned>(kv_heads)};
}

// Launchers. head_dim is at most kMostHeadDim.
void attention_few(const Gpu& gpu, const AttentionArguments& a);
void attention_many(const Gpu& gpu, const AttentionArguments& a);
void attention_many_f16(const Gpu& gpu, const AttentionArguments& a);
bool attention_many_f16_takes(const AttentionArguments& a);
void attention_combine(const Gpu& gpu, const AttentionArguments& a);

}  // namespace spqr::cuda
