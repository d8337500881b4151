// out[t] = sum_p softmax_p(scale q[t] . k[p] + alibi[p]) v[p] over the cache rows p that token first + t
// sees: all up to its own, or the last sliding_window of them. Here the work is cut; the kernels are in
// attention_few.cu (decoding), attention_many.cu and attention_many_f16.cu (prompts) and
// attention_combine.cu. Where tiles of query rows and kv heads are fewer than the multiprocessors can hold,
// the keys are split too. The number of splits is the host's, from the upper bound of the keys; their ends
// are found on the device from the position there: a graph that was recorded for many keys is right for few,
// of which some splits then have none.
#include <algorithm>
#include <climits>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "kernels/cuda/device/attention_parts.cuh"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/operations.h"

namespace spqr::cuda {
namespace {

constexpr std::int64_t kFewTokens = 8;
constexpr std::int64_t kMostSplits = 128;

enum class Kernel : std::uint8_t { few, many, many_f16 };

std::int64_t tile_rows(Kernel kernel, std::int64_t rows) {
  if (kernel == Kernel::few) return attention_few_rows(static_cast<int>(rows));
  return kernel == Kernel::many ? attention_many_rows() : attention_many_f16_rows();
}

// Keys of a split at least: what is worth the part that it leaves.
std::int64_t least_keys(Kernel kernel) {
  return kernel == Kernel::few ? 64 : 256;
}

// visible: keys that the tokens see together, at most; rows: query rows of a kv head.
std::int64_t split_count(const Gpu& gpu, Kernel kernel, std::int64_t kv_heads, std::int64_t rows,
                         std::int64_t visible) {
  const std::int64_t resident = kernel == Kernel::few ? 4 : 2;  // blocks that a multiprocessor has at once
  const std::int64_t blocks = ceil_div(rows, tile_rows(kernel, rows)) * kv_heads;
  const std::int64_t enough = ceil_div(resident * gpu.multiprocessors, blocks);
  return std::min({enough, std::max<std::int64_t>(1, ceil_div(visible, least_keys(kernel))), kMostSplits});
}

CacheView view(const KvLayer& cache, const CachedRows& rows) {
  CacheView view;
  view.data = rows.data;
  view.row_bytes = cache.row_bytes(rows);
  view.type = rows.type;
  view.head_dim = static_cast<int>(cache.head_dim);
  view.in_vectors =
      cache.head_dim % kLoadedValues == 0 && reinterpret_cast<std::uintptr_t>(rows.data) % sizeof(uint4) == 0;
  return view;
}

void check_head_dim(std::int64_t head_dim) {
  if (head_dim <= kMostHeadDim) return;
  throw std::invalid_argument("attention on cuda takes a head_dim of at most " +
                              std::to_string(kMostHeadDim) + ", found " + std::to_string(head_dim) +
                              ": use the cpu backend");
}

}  // namespace

void attention(const Gpu& gpu, Matrix out, Matrix q, const KvLayer& cache, Position first,
               std::int64_t visible, const AttentionShape& shape, void* scratch) {
  if (q.rows == 0) return;
  check_head_dim(shape.head_dim);
  AttentionArguments a;
  a.out = out.data;
  a.q = q.data;
  a.k = view(cache, cache.k);
  a.v = view(cache, cache.v);
  a.capacity = cache.capacity;
  a.alibi = shape.alibi.data;
  a.alibi_cols = shape.alibi.cols;
  a.first = first;
  a.tokens = static_cast<int>(q.rows);
  a.heads = static_cast<int>(shape.heads);
  a.heads_per_kv = static_cast<int>(shape.heads / cache.kv_heads);
  a.head_dim = static_cast<int>(shape.head_dim);
  if (shape.sliding_window > 0 && shape.sliding_window < INT_MAX)
    a.window = static_cast<int>(shape.sliding_window);
  a.scale = shape.scale * kLog2E;

  const Kernel kernel = q.rows <= kFewTokens          ? Kernel::few
                        : attention_many_f16_takes(a) ? Kernel::many_f16
                                                      : Kernel::many;
  const std::int64_t seen = std::min(visible, std::int64_t{a.window} + q.rows - 1);
  a.least_keys = static_cast<int>(least_keys(kernel));
  a.splits = static_cast<int>(split_count(gpu, kernel, cache.kv_heads, a.rows(), seen));
  a.part_statistics = static_cast<float2*>(scratch);
  a.part_sums = static_cast<float*>(scratch) + 2 * q.rows * shape.heads * a.splits;
  switch (kernel) {
    case Kernel::few:
      attention_few(gpu, a);
      break;
    case Kernel::many:
      attention_many(gpu, a);
      break;
    case Kernel::many_f16:
      attention_many_f16(gpu, a);
      break;
  }
  if (a.splits > 1) attention_combine(gpu, a);
}

std::size_t attention_scratch_bytes(const Gpu& gpu, const LargestShapes& largest) {
  if (largest.heads == 0) return 0;
  const std::int64_t kv_heads = largest.heads / largest.heads_per_kv;
  std::int64_t parts = 0;
  for (std::int64_t tokens = 1; tokens <= largest.tokens; ++tokens) {
    for (const Kernel kernel : {Kernel::few, Kernel::many, Kernel::many_f16}) {
      if ((kernel == Kernel::few) != (tokens <= kFewTokens)) continue;
      const std::int64_t splits = split_count(gpu, kernel, kv_heads, tokens * largest.heads_per_kv, INT_MAX);
      if (splits > 1) parts = std::max(parts, tokens * largest.heads * splits);
    }
  }
  return static_cast<std::size_t>(parts * (largest.head_dim + 2)) * sizeof(float);
}

}  // namespace spqr::cuda
