// out[row] = sum_p softmax_p(scale q[row] . k[p] + alibi[p]) v[p] for few query rows: decoding.
//   q, out (tokens, heads, head_dim) f32   k, v (kv_heads, capacity, head_dim) of any cache type
//   head_dim 1 .. 256
// Reads the visible part of the cache once for every kRows query rows of a kv head: bandwidth-bound. Writes
// out, or with several splits (head_dim + 2) f32 of each row and split.
// Work split: a block has a tile of query rows of one kv head and a range of its keys (split-k). A key is
// read by a group of lanes, eight values each, 16 bytes of f16; the groups of a block take the keys in turn,
// kKeys of them at once, each with its own running maximum and sums, which are put together at the end: first
// within a warp, then over the warps.
// Accumulates in f32, in an order that depends on the shape alone.
// Source: flash decoding, arXiv 2311.01282; online softmax, arXiv 1805.02867.
#include <cstdint>

#include "kernels/cuda/device/attention_parts.cuh"
#include "kernels/cuda/device/reduce.cuh"
#include "kernels/cuda/device/shared_memory.cuh"
#include "kernels/cuda/launch.h"

namespace spqr::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / kWarpLanes;
constexpr int kMostRows = kAttentionFewMostRows;

// One query row's softmax over the keys that a lane has seen, for its eight dimensions of the values.
struct RunningSums {
  float maximum = kMinusInfinity;
  float total = 0;
  float sums[kLoadedValues] = {};
};

// Lanes that read a key together: a power of two.
__host__ __device__ constexpr int lanes_of(int head_dim) {
  int lanes = 1;
  while (lanes * kLoadedValues < head_dim) lanes *= 2;
  return lanes;
}

// A block's shared memory: this, then values: the queries (kRows, width), later sums (kWarps, kRows, width);
// width = lanes_of(head_dim) * kLoadedValues.
template <int kRows>
struct alignas(16) Shared {
  QueryRow rows[kRows];
  float2 statistics[kWarps][kRows];  // maximum and total of a warp

  __device__ __forceinline__ float* values() { return reinterpret_cast<float*>(this + 1); }
  static std::size_t bytes(int width) {
    return sizeof(Shared) + sizeof(float) * static_cast<std::size_t>(kWarps * kRows * width);
  }
};

// The rows of the tile and their queries times scale; zeros beyond head_dim and beyond the last row.
template <int kRows>
__device__ __forceinline__ void stage_queries(const AttentionArguments& a, Shared<kRows>& shared, int first,
                                              int width) {
  const int thread = static_cast<int>(threadIdx.x);
  const int first_row = static_cast<int>(blockIdx.x) * kRows;
  const int kv_head = static_cast<int>(blockIdx.z);
  if (thread < kRows) shared.rows[thread] = query_row(a, first, kv_head, first_row + thread);
  for (int i = thread; i < kRows * width; i += kThreads) {
    const int row = first_row + i / width;
    const int dim = i % width;
    const bool exists = row < a.rows() && dim < a.head_dim;
    const std::int64_t index = query_row(a, first, kv_head, row).index(a);
    shared.values()[i] = exists ? a.scale * a.q[index * a.head_dim + dim] : 0.0F;
  }
  __syncthreads();
}

// scores[r][u] = queries[r] . keys[u], for every lane of the key's group. queries: the lane's eight
// dimensions of row 0; a row is `width` floats.
template <int kRows, int kKeys>
__device__ __forceinline__ void score(float (&scores)[kRows][kKeys], const CacheView& cache,
                                      const StoredValues (&keys)[kKeys], const float* queries, int width) {
#pragma unroll
  for (int u = 0; u < kKeys; ++u) {
    float key[kLoadedValues];
    widen(cache, keys[u], key);
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const auto* query = reinterpret_cast<const float4*>(queries + r * width);
      const float4 low = query[0];
      const float4 high = query[1];
      float sum = low.x * key[0];
      sum = fmaf(low.y, key[1], sum);
      sum = fmaf(low.z, key[2], sum);
      sum = fmaf(low.w, key[3], sum);
      sum = fmaf(high.x, key[4], sum);
      sum = fmaf(high.y, key[5], sum);
      sum = fmaf(high.z, key[6], sum);
      scores[r][u] = fmaf(high.w, key[7], sum);
    }
  }
  for (int step = width / kLoadedValues / 2; step > 0; step /= 2) {
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
#pragma unroll
      for (int u = 0; u < kKeys; ++u) scores[r][u] += __shfl_xor_sync(kWholeWarp, scores[r][u], step);
    }
  }
}

// Adds values with the weights exp2(scores) to a row's sums. values: the lane's eight dimensions.
template <int kKeys>
__device__ __forceinline__ void accumulate(RunningSums& running, const float (&scores)[kKeys],
                                           const float (&values)[kKeys][kLoadedValues]) {
  float maximum = running.maximum;
#pragma unroll
  for (int u = 0; u < kKeys; ++u) maximum = fmaxf(maximum, scores[u]);
  const float origin = score_origin(maximum);
  const float shrink = exp2f(running.maximum - origin);
  running.maximum = maximum;
  running.total *= shrink;
#pragma unroll
  for (float& sum : running.sums) sum *= shrink;
#pragma unroll
  for (int u = 0; u < kKeys; ++u) {
    const float weight = exp2f(scores[u] - origin);
    running.total += weight;
#pragma unroll
    for (int i = 0; i < kLoadedValues; ++i) running.sums[i] = fmaf(weight, values[u][i], running.sums[i]);
  }
}

// Adds to a lane's sums those of the lane `step` away, of the same dimensions.
__device__ __forceinline__ void merge_lanes(RunningSums& running, int step) {
  const float other = __shfl_xor_sync(kWholeWarp, running.maximum, step);
  const float maximum = fmaxf(running.maximum, other);
  const float origin = score_origin(maximum);
  const float mine = exp2f(running.maximum - origin);
  const float theirs = exp2f(other - origin);
  running.maximum = maximum;
  running.total = running.total * mine + __shfl_xor_sync(kWholeWarp, running.total, step) * theirs;
#pragma unroll
  for (float& sum : running.sums) sum = sum * mine + __shfl_xor_sync(kWholeWarp, sum, step) * theirs;
}

// Puts the sums of the warps together and stores them. All threads take part.
template <int kRows>
__device__ __forceinline__ void store_rows(const AttentionArguments& a, Shared<kRows>& shared,
                                           const RunningSums (&running)[kRows], int width) {
  const int warp = static_cast<int>(threadIdx.x) / kWarpLanes;
  const int lane = static_cast<int>(threadIdx.x) % kWarpLanes;
  __syncthreads();  // the queries have been read
  if (lane < width / kLoadedValues) {
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const float(&sums)[kLoadedValues] = running[r].sums;
      auto* to =
          reinterpret_cast<float4*>(shared.values() + (warp * kRows + r) * width + lane * kLoadedValues);
      to[0] = make_float4(sums[0], sums[1], sums[2], sums[3]);
      to[1] = make_float4(sums[4], sums[5], sums[6], sums[7]);
      if (lane == 0) shared.statistics[warp][r] = make_float2(running[r].maximum, running[r].total);
    }
  }
  __syncthreads();
  const int rows = min(kRows, a.rows() - static_cast<int>(blockIdx.x) * kRows);
  for (int i = static_cast<int>(threadIdx.x); i < rows * a.head_dim; i += kThreads) {
    const int r = i / a.head_dim;
    const int dim = i % a.head_dim;
    float maximum = kMinusInfinity;
    for (int w = 0; w < kWarps; ++w) maximum = fmaxf(maximum, shared.statistics[w][r].x);
    const float origin = score_origin(maximum);
    float total = 0;
    float sum = 0;
    for (int w = 0; w < kWarps; ++w) {
      const float2 statistics = shared.statistics[w][r];
      const float weight = exp2f(statistics.x - origin);
      total = fmaf(weight, statistics.y, total);
      sum = fmaf(weight, shared.values()[(w * kRows + r) * width + dim], sum);
    }
    store_part(a, shared.rows[r], dim, maximum, total, sum);
  }
}

template <int kRows, int kKeys>
__global__ void attend_few(AttentionArguments a) {
  auto& shared = *shared_memory<Shared<kRows>>();
  const int first = first_position(a.first);
  const int lanes = lanes_of(a.head_dim);
  const int width = lanes * kLoadedValues;
  stage_queries(a, shared, first, width);

  const int first_row = static_cast<int>(blockIdx.x) * kRows;
  const KeyRange range = split_keys(a, first, first_row, min(first_row + kRows, a.rows()));
  const std::int64_t first_cached = static_cast<std::int64_t>(blockIdx.z) * a.capacity;
  const int group = static_cast<int>(threadIdx.x) / lanes;
  const int groups = kThreads / lanes;
  const int begin = static_cast<int>(threadIdx.x) % lanes * kLoadedValues;
  RunningSums running[kRows];
  for (int base = range.begin; base < range.end; base += groups * kKeys) {
    StoredValues stored_k[kKeys];
    StoredValues stored_v[kKeys];
#pragma unroll
    for (int u = 0; u < kKeys; ++u) {
      const int key = base + u * groups + group;
      stored_k[u] = load_stored(a.k, a.k.row(first_cached + key), begin, key < range.end);
      stored_v[u] = load_stored(a.v, a.v.row(first_cached + key), begin, key < range.end);
    }
    float scores[kRows][kKeys];
    score(scores, a.k, stored_k, shared.values() + begin, width);
    float values[kKeys][kLoadedValues];
#pragma unroll
    for (int u = 0; u < kKeys; ++u) widen(a.v, stored_v[u], values[u]);
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const QueryRow row = shared.rows[r];
#pragma unroll
      for (int u = 0; u < kKeys; ++u) {
        const int key = base + u * groups + group;
        scores[r][u] = key < range.end ? score_of(a, row, key, scores[r][u]) : kMinusInfinity;
      }
      accumulate(running[r], scores[r], values);
    }
  }
  for (int step = lanes; step < kWarpLanes; step *= 2) {
#pragma unroll
    for (int r = 0; r < kRows; ++r) merge_lanes(running[r], step);
  }
  store_rows(a, shared, running, width);
}

template <int kRows, int kKeys>
void launch_few(const Gpu& gpu, const AttentionArguments& a) {
  launch(
      gpu, "attention_few", attend_few<kRows, kKeys>,
      {attention_grid(a, kRows), dim3(kThreads), Shared<kRows>::bytes(lanes_of(a.head_dim) * kLoadedValues)},
      a);
}

}  // namespace

void attention_few(const Gpu& gpu, const AttentionArguments& a) {
  switch (attention_few_rows(a.rows())) {
    case 1:
      return launch_few<1, 4>(gpu, a);
    case 2:
      return launch_few<2, 4>(gpu, a);
    case 4:
      return launch_few<4, 2>(gpu, a);
    default:
      return launch_few<kMostRows, 2>(gpu, a);
  }
}

}  // namespace spqr::cuda
