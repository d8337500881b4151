// out[t] = sum_p softmax_p(scale q[t] . k[p] + alibi[p]) v[p] over the cache rows p that token first + t
// sees: all up to its own, or the last sliding_window of them.   Reads the visible part of the cache once per
// query head.
#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/reference/operations.h"

namespace spqr::reference {
namespace {

std::vector<float> cached(const KvLayer& cache, const CachedRows& rows, std::int64_t kv_head,
                          std::int64_t position) {
  std::vector<float> values(static_cast<std::size_t>(cache.head_dim));
  load_cache_row(rows.type, cache.row(rows, kv_head, position), cache.head_dim, values.data());
  return values;
}

// One head of one token; begin .. end are the cache rows it sees. alibi: the head's row, or null.
void attend(float* out, const float* q, const KvLayer& cache, std::int64_t kv_head, std::int64_t begin,
            std::int64_t end, float scale, const float* alibi) {
  std::vector<double> weights;
  double maximum = -INFINITY;
  for (std::int64_t p = begin; p < end; ++p) {
    const std::vector<float> key = cached(cache, cache.k, kv_head, p);
    double score = 0;
    for (std::size_t i = 0; i < key.size(); ++i) score += static_cast<double>(q[i]) * key[i];
    weights.push_back(score * static_cast<double>(scale) + (alibi == nullptr ? 0.0 : alibi[p]));
    maximum = std::max(maximum, weights.back());
  }
  double total = 0;
  for (double& weight : weights) total += weight = std::exp(weight - maximum);
  std::vector<double> sums(static_cast<std::size_t>(cache.head_dim));
  for (std::int64_t p = begin; p < end; ++p) {
    const std::vector<float> value = cached(cache, cache.v, kv_head, p);
    for (std::size_t i = 0; i < sums.size(); ++i)
      sums[i] += weights[static_cast<std::size_t>(p - begin)] * value[i];
  }
  for (std::size_t i = 0; i < sums.size(); ++i) out[i] = static_cast<float>(sums[i] / total);
}

}  // namespace

void attention(Matrix out, Matrix q, const KvLayer& cache, std::int64_t first, const AttentionShape& shape) {
  const std::int64_t heads_per_kv = shape.heads / cache.kv_heads;
  for (std::int64_t t = 0; t < q.rows; ++t) {
    const std::int64_t end = first + t + 1;
    const std::int64_t begin =
        shape.sliding_window > 0 ? std::max<std::int64_t>(0, end - shape.sliding_window) : 0;
    for (std::int64_t h = 0; h < shape.heads; ++h) {
      const std::int64_t offset = t * q.cols + h * shape.head_dim;
      const float* alibi = shape.alibi.data == nullptr ? nullptr : shape.alibi.data + h * shape.alibi.cols;
      attend(out.data + offset, q.data + offset, cache, h / heads_per_kv, begin, end, shape.scale, alibi);
    }
  }
}

}  // namespace spqr::reference
