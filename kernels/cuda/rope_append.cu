// Rotates heads of q and k in place by their position and stores k and v in the cache.
//   q (tokens, heads * head_dim)   k, v (tokens, kv_heads * head_dim) f32   inverse_frequency (head_dim / 2)
//   f32, or none: nothing is rotated   cache: (kv_heads, capacity) rows, of which those of these tokens are
//   written
// Reads 4 head_dim (heads + 2 kv_heads) bytes a token, writes as much for q and k, and the cache's rows; of
// one token, latency-bound.
// Work split: a warp per token and kHeads vectors of q, k or v, which share its sines and cosines; of few
// tokens a warp per vector. A row of the cache is written by the warp that rotated it.
// Angles are products of f32 numbers, as where the models were trained.   Source: arXiv 2104.09864.
#include "kernels/cuda/device/cache_rows.cuh"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/operations.h"

namespace spqr::cuda {
namespace {

constexpr int kWarps = 4;  // of a block
constexpr int kHeads = 8;  // of a warp, of many tokens

struct Rows {
  std::byte* data;
  CacheType type;
  std::int64_t row_bytes;
};

struct RopeAppend {
  float* q;
  float* k;
  const float* v;
  const float* inverse_frequency;  // null: nothing is rotated
  Rows k_rows;
  Rows v_rows;
  Position first;
  std::int64_t capacity;
  int heads;
  int kv_heads;
  int head_dim;
  int vectors_per_warp;
};

// Vectors of a token: `heads` of q, `kv_heads` of k, as many of v. q or k, which are rotated.
__device__ __forceinline__ float* rotated_vector(const RopeAppend& a, std::int64_t token, int vector) {
  if (vector < a.heads) return a.q + (token * a.heads + vector) * a.head_dim;
  return a.k + (token * a.kv_heads + vector - a.heads) * a.head_dim;
}

// The vectors from `begin` to before `end`, all of q or k. A lane has pairs lane, lane + 32, ... of each.
__device__ __forceinline__ void rotate(const RopeAppend& a, std::int64_t token, std::int64_t position,
                                       int begin, int end, int lane) {
  const int half = a.head_dim / 2;
  for (int i = lane; i < half; i += kWarpLanes) {
    float sine = 0;
    float cosine = 0;
    sincosf(static_cast<float>(position) * a.inverse_frequency[i], &sine, &cosine);
#pragma unroll 1  // unrolled, registers spill
    for (int vector = begin; vector < end; ++vector) {
      float* head = rotated_vector(a, token, vector);
      const float low = head[i];
      const float high = head[i + half];
      head[i] = low * cosine - high * sine;
      head[i + half] = high * cosine + low * sine;
    }
  }
}

__global__ void __launch_bounds__(kWarps* kWarpLanes) rope_append_kernel(RopeAppend a) {
  const std::int64_t token = blockIdx.x;
  const int warp = static_cast<int>(blockIdx.y * kWarps + threadIdx.x / kWarpLanes);
  const int lane = static_cast<int>(threadIdx.x) % kWarpLanes;
  const std::int64_t position = (a.first.base != nullptr ? *a.first.base : 0) + a.first.offset + token;
  const int keys = a.heads;
  const int values = keys + a.kv_heads;
  const int begin = warp * a.vectors_per_warp;
  const int end = min(begin + a.vectors_per_warp, values + a.kv_heads);
  if (a.inverse_frequency != nullptr) rotate(a, token, position, begin, min(end, values), lane);
  __syncwarp();  // other lanes' parts of k
  for (int vector = max(begin, keys); vector < end; ++vector) {
    const bool is_key = vector < values;
    const int head = vector - (is_key ? keys : values);
    const Rows& rows = is_key ? a.k_rows : a.v_rows;
    const float* from = (is_key ? a.k : a.v) + (token * a.kv_heads + head) * a.head_dim;
    store_cache_row(rows.type, from, a.head_dim, rows.data + (head * a.capacity + position) * rows.row_bytes,
                    lane);
  }
}

}  // namespace

void rope_append(const Gpu& gpu, Matrix q, Matrix k, Matrix v, const Rope& rope, const KvLayer& cache,
                 Position first) {
  RopeAppend a = {};
  a.q = q.data;
  a.k = k.data;
  a.v = v.data;
  a.inverse_frequency = rope.inverse_frequency.empty() ? nullptr : rope.inverse_frequency.data();
  a.k_rows = {cache.k.data, cache.k.type, cache.row_bytes(cache.k)};
  a.v_rows = {cache.v.data, cache.v.type, cache.row_bytes(cache.v)};
  a.first = first;
  a.capacity = cache.capacity;
  a.heads = static_cast<int>(q.cols / cache.head_dim);
  a.kv_heads = static_cast<int>(cache.kv_heads);
  a.head_dim = static_cast<int>(cache.head_dim);
  constexpr std::int64_t kFewWarps = 16;  // a multiprocessor; with fewer all vectors have one
  const std::int64_t vectors = a.heads + 2 * a.kv_heads;
  a.vectors_per_warp = q.rows * vectors <= kFewWarps * gpu.multiprocessors ? 1 : kHeads;
  const std::int64_t blocks = ceil_div(vectors, std::int64_t{kWarps} * a.vectors_per_warp);
  launch(gpu, "rope_append", rope_append_kernel,
         {dim3(static_cast<unsigned>(q.rows), static_cast<unsigned>(blocks)), dim3(kWarps * kWarpLanes)}, a);
}

}  // namespace spqr::cuda
