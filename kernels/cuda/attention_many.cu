// out[row] = sum_p softmax_p(scale q[row] . k[p] + alibi[p]) v[p] for many query rows: prompts, any cache
// type.
//   q, out (tokens, heads, head_dim) f32   k, v (kv_heads, capacity, head_dim)   head_dim 1 .. kWidth
// Reads the visible part of the cache once for every kRows query rows of a kv head; 4 rows keys head_dim
// operations on f32: bound by these and by shared memory. Writes out, or with several splits (head_dim + 2)
// f32 of each row and split.
// Work split: a block has kRows query rows of one kv head and goes through the keys that any of them sees, a
// tile of kKeys at a time, widened to f32 in shared memory: first as keys, then, in the same place, as
// values. Half a warp has four query rows; its lanes divide the keys of the tile in scores and the dimensions
// in sums. Tiles with the most keys come first. Accumulates in f32, in an order that depends on the shape
// alone. Source: arXiv 2205.14135 (FlashAttention), arXiv 2307.08691 (FlashAttention-2).
#include <cstdint>

#include "kernels/cuda/device/attention_parts.cuh"
#include "kernels/cuda/device/reduce.cuh"
#include "kernels/cuda/device/shared_memory.cuh"
#include "kernels/cuda/launch.h"

namespace spqr::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kLanes = kWarpLanes / 2;  // that share query rows
constexpr int kLaneRows = 4;
constexpr int kRows = kThreads / kLanes * kLaneRows;
static_assert(kRows == kAttentionManyRows);
constexpr int kPad = 4;  // floats: rows of shared memory start in other banks, 16-byte aligned

// kWidth: dimensions that there is room for, 64, 128 or 256.
template <int kWidth>
struct Tile {
  // As many as fit in 64 KB, which is what sm_75 has, with all else.
  static constexpr int kKeys = kWidth > 128 ? 16 : 32;
  static constexpr int kLaneKeys = kKeys / kLanes;
  static constexpr int kLaneVectors = kWidth / 4 / kLanes;  // of four dimensions

  float queries[kRows][kWidth + kPad];  // times scale; zeros beyond head_dim and the last row
  float cached[kKeys][kWidth + kPad];   // keys, then values; zeros beyond head_dim and the last key
  float weights[kRows][kKeys + kPad];
};

// A lane's share of its query rows: some dimensions of the weighted sums; maxima and totals are the same in
// all lanes of a row.
template <int kWidth>
struct RunningSums {
  float maximum[kLaneRows];
  float total[kLaneRows];
  float4 sums[kLaneRows][Tile<kWidth>::kLaneVectors];
};

__device__ __forceinline__ float dot(float4 a, float4 b, float sum) {
  return fmaf(a.w, b.w, fmaf(a.z, b.z, fmaf(a.y, b.y, fmaf(a.x, b.x, sum))));
}

__device__ __forceinline__ float4 scaled(float4 a, float factor) {
  return make_float4(a.x * factor, a.y * factor, a.z * factor, a.w * factor);
}

__device__ __forceinline__ float4 multiply_add(float factor, float4 a, float4 sum) {
  return make_float4(fmaf(factor, a.x, sum.x), fmaf(factor, a.y, sum.y), fmaf(factor, a.z, sum.z),
                     fmaf(factor, a.w, sum.w));
}

__device__ __forceinline__ float4 vector_at(const float* from) {
  return *reinterpret_cast<const float4*>(from);
}

template <int kWidth>
__device__ __forceinline__ void stage_queries(const AttentionArguments& a, Tile<kWidth>& tile, int first,
                                              int first_row) {
  for (int i = static_cast<int>(threadIdx.x); i < kRows * kWidth; i += kThreads) {
    const int row = first_row + i / kWidth;
    const int dim = i % kWidth;
    const bool exists = row < a.rows() && dim < a.head_dim;
    const std::int64_t index = query_row(a, first, static_cast<int>(blockIdx.z), row).index(a);
    tile.queries[i / kWidth][dim] = exists ? a.scale * a.q[index * a.head_dim + dim] : 0.0F;
  }
}

// Rows begin .. end of the kv head, at most kKeys of them, as f32.
template <int kWidth>
__device__ __forceinline__ void stage_cached(const AttentionArguments& a, const CacheView& cache,
                                             Tile<kWidth>& tile, int begin, int end) {
  constexpr int kLoads = kWidth / kLoadedValues;  // of a row
  const std::int64_t first_cached = static_cast<std::int64_t>(blockIdx.z) * a.capacity;
#pragma unroll 4
  for (int i = static_cast<int>(threadIdx.x); i < Tile<kWidth>::kKeys * kLoads; i += kThreads) {
    const int key = begin + i / kLoads;
    const int dim = i % kLoads * kLoadedValues;
    float values[kLoadedValues];
    widen(cache, load_stored(cache, cache.row(first_cached + key), dim, key < end), values);
    auto* to = reinterpret_cast<float4*>(&tile.cached[i / kLoads][dim]);
    to[0] = make_float4(values[0], values[1], values[2], values[3]);
    to[1] = make_float4(values[4], values[5], values[6], values[7]);
  }
}

// The largest, or the sum, over the lanes of a row.
template <typename Combine>
__device__ __forceinline__ float over_lanes(float value, Combine combine) {
#pragma unroll
  for (int step = kLanes / 2; step > 0; step /= 2)
    value = combine(value, __shfl_xor_sync(kWholeWarp, value, step));
  return value;
}

// Scores of the lane's rows with keys lane, lane + kLanes, ... of the tile.
template <int kWidth>
__device__ __forceinline__ void score(float (&scores)[kLaneRows][Tile<kWidth>::kLaneKeys],
                                      const Tile<kWidth>& tile, int head_dim, int tile_row, int lane) {
  constexpr int kLaneKeys = Tile<kWidth>::kLaneKeys;
#pragma unroll
  for (int r = 0; r < kLaneRows; ++r) {
#pragma unroll
    for (int u = 0; u < kLaneKeys; ++u) scores[r][u] = 0;
  }
#pragma unroll 4
  for (int dim = 0; dim < head_dim; dim += 4) {
    float4 keys[kLaneKeys];
#pragma unroll
    for (int u = 0; u < kLaneKeys; ++u) keys[u] = vector_at(&tile.cached[u * kLanes + lane][dim]);
#pragma unroll
    for (int r = 0; r < kLaneRows; ++r) {
      const float4 query = vector_at(&tile.queries[tile_row + r][dim]);
#pragma unroll
      for (int u = 0; u < kLaneKeys; ++u) scores[r][u] = dot(query, keys[u], scores[r][u]);
    }
  }
}

// Scores become weights, in shared memory; sums so far are measured from the new maximum.
template <int kWidth>
__device__ __forceinline__ void weigh(const AttentionArguments& a, Tile<kWidth>& tile,
                                      RunningSums<kWidth>& running, const QueryRow (&rows)[kLaneRows],
                                      float (&scores)[kLaneRows][Tile<kWidth>::kLaneKeys], KeyRange keys,
                                      int tile_row, int lane) {
  constexpr int kLaneKeys = Tile<kWidth>::kLaneKeys;
#pragma unroll
  for (int r = 0; r < kLaneRows; ++r) {
    float largest = kMinusInfinity;
#pragma unroll
    for (int u = 0; u < kLaneKeys; ++u) {
      const int key = keys.begin + u * kLanes + lane;
      scores[r][u] = key < keys.end ? score_of(a, rows[r], key, scores[r][u]) : kMinusInfinity;
      largest = fmaxf(largest, scores[r][u]);
    }
    largest = over_lanes(largest, [](float x, float y) { return fmaxf(x, y); });
    const float maximum = fmaxf(running.maximum[r], largest);
    const float origin = score_origin(maximum);
    const float shrink = exp2f(running.maximum[r] - origin);
    float total = 0;
#pragma unroll
    for (int u = 0; u < kLaneKeys; ++u) {
      const float weight = exp2f(scores[r][u] - origin);
      tile.weights[tile_row + r][u * kLanes + lane] = weight;
      total += weight;
    }
    total = over_lanes(total, [](float x, float y) { return x + y; });
    running.maximum[r] = maximum;
    running.total[r] = fmaf(running.total[r], shrink, total);
#pragma unroll
    for (float4& sum : running.sums[r]) sum = scaled(sum, shrink);
  }
}

// Adds the tile's values with their weights. Lane l has the dimensions 4 (l + kLanes j) .. + 3.
template <int kWidth>
__device__ __forceinline__ void accumulate(RunningSums<kWidth>& running, const Tile<kWidth>& tile,
                                           int tile_row, int lane) {
#pragma unroll 2
  for (int key = 0; key < Tile<kWidth>::kKeys; key += 4) {
    float weights[kLaneRows][4];
#pragma unroll
    for (int r = 0; r < kLaneRows; ++r) {
      const float4 four = vector_at(&tile.weights[tile_row + r][key]);
      weights[r][0] = four.x;
      weights[r][1] = four.y;
      weights[r][2] = four.z;
      weights[r][3] = four.w;
    }
#pragma unroll
    for (int u = 0; u < 4; ++u) {
#pragma unroll
      for (int j = 0; j < Tile<kWidth>::kLaneVectors; ++j) {
        const float4 values = vector_at(&tile.cached[key + u][4 * (lane + kLanes * j)]);
#pragma unroll
        for (int r = 0; r < kLaneRows; ++r)
          running.sums[r][j] = multiply_add(weights[r][u], values, running.sums[r][j]);
      }
    }
  }
}

template <int kWidth>
__device__ __forceinline__ void store_rows(const AttentionArguments& a, const RunningSums<kWidth>& running,
                                           const QueryRow (&rows)[kLaneRows], int lane) {
#pragma unroll
  for (int r = 0; r < kLaneRows; ++r) {
#pragma unroll
    for (int j = 0; j < Tile<kWidth>::kLaneVectors; ++j) {
      const float4 four = running.sums[r][j];
      const float sums[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int dim = 4 * (lane + kLanes * j) + i;
        if (rows[r].end > 0 && dim < a.head_dim)
          store_part(a, rows[r], dim, running.maximum[r], running.total[r], sums[i]);
      }
    }
  }
}

template <int kWidth>
__global__ void attend_many(AttentionArguments a) {
  auto& tile = *shared_memory<Tile<kWidth>>();
  constexpr int kKeys = Tile<kWidth>::kKeys;
  const int first = first_position(a.first);
  const int first_row = static_cast<int>(gridDim.x - 1 - blockIdx.x) * kRows;
  const int tile_row = static_cast<int>(threadIdx.x) / kLanes * kLaneRows;
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  stage_queries(a, tile, first, first_row);

  QueryRow rows[kLaneRows];
  RunningSums<kWidth> running;
#pragma unroll
  for (int r = 0; r < kLaneRows; ++r) {
    rows[r] = query_row(a, first, static_cast<int>(blockIdx.z), first_row + tile_row + r);
    running.maximum[r] = kMinusInfinity;
    running.total[r] = 0;
#pragma unroll
    for (float4& sum : running.sums[r]) sum = make_float4(0, 0, 0, 0);
  }
  const KeyRange range = split_keys(a, first, first_row, min(first_row + kRows, a.rows()));
  for (int key = range.begin; key < range.end; key += kKeys) {
    const KeyRange keys = {key, min(key + kKeys, range.end)};
    stage_cached(a, a.k, tile, keys.begin, keys.end);
    __syncthreads();
    float scores[kLaneRows][Tile<kWidth>::kLaneKeys];
    score(scores, tile, a.head_dim, tile_row, lane);
    weigh(a, tile, running, rows, scores, keys, tile_row, lane);
    __syncthreads();  // the keys have been read
    stage_cached(a, a.v, tile, keys.begin, keys.end);
    __syncthreads();
    accumulate(running, tile, tile_row, lane);
    __syncthreads();  // the values and the weights have been read
  }
  store_rows(a, running, rows, lane);
}

template <int kWidth>
void launch_many(const Gpu& gpu, const AttentionArguments& a) {
  launch(gpu, "attention_many", attend_many<kWidth>,
         {attention_grid(a, kRows), dim3(kThreads), sizeof(Tile<kWidth>)}, a);
}

}  // namespace

void attention_many(const Gpu& gpu, const AttentionArguments& a) {
  if (a.head_dim <= 64) return launch_many<64>(gpu, a);
  if (a.head_dim <= 128) return launch_many<128>(gpu, a);
  launch_many<kMostHeadDim>(gpu, a);
}

}  // namespace spqr::cuda
