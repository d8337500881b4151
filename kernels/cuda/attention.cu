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

#include "kernels/cuda/device/attention_parts.cuh"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/operations.h"
#include "kernels/cuda/scratch_sizes.h"

namespace spqr::cuda {
namespace {

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

  const AttentionKernel kernel = q.rows <= kFewTokens          ? AttentionKernel::few
                                 : attention_many_f16_takes(a) ? AttentionKernel::many_f16
                                                               : AttentionKernel::many;
  const std::int64_t seen = std::min(visible, std::int64_t{a.window} + q.rows - 1);
  a.least_keys = static_cast<int>(attention_least_keys(kernel));
  a.splits = static_cast<int>(attention_splits(gpu.multiprocessors, kernel, cache.kv_heads, a.rows(), seen));
  a.part_statistics = static_cast<float2*>(scratch);
  a.part_sums = static_cast<float*>(scratch) + 2 * q.rows * shape.heads * a.splits;
  switch (kernel) {
    case AttentionKernel::few:
      attention_few(gpu, a);
      break;
    case AttentionKernel::many:
      attention_many(gpu, a);
      break;
    case AttentionKernel::many_f16:
      attention_many_f16(gpu, a);
      break;
  }
  if (a.splits > 1) attention_combine(gpu, a);
}

}  // namespace spqr::cuda
