// out[t] = sum_p softmax_p(scale q[t] . k[p] + alibi[p]) v[p] over the cache rows p that token first + t
// sees: all up to its own, or the last sliding_window of them.   Reads the visible part of the cache once per
// query head.
#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/half.h"
#include "kernels/reference/operations.h"

namespace spqr::reference {
namespace {

double cached(const void* data, const KvLayer& cache, std::int64_t index) {
  return cache.dtype == DType::f32 ? static_cast<const float*>(data)[index]
                                   : f16_to_f32(static_cast<const std::uint16_t*>(data)[index]);
}

// One head of one token; begin .. end are the cache rows it sees. alibi: the head's row, or null.
void attend(float* out, const float* q, const KvLayer& cache, std::int64_t kv_head, std::int64_t begin,
            std::int64_t end, float scale, const float* alibi) {
  const std::int64_t base = kv_head * cache.capacity;
  std::vector<double> weights;
  double maximum = -INFINITY;
  for (std::int64_t p = begin; p < end; ++p) {
    double score = 0;
    for (std::int64_t i = 0; i < cache.head_dim; ++i) {
      score += q[i] * cached(cache.k, cache, (base + p) * cache.head_dim + i);
    }
    weights.push_back(score * static_cast<double>(scale) + (alibi == nullptr ? 0.0 : alibi[p]));
    maximum = std::max(maximum, weights.back());
  }
  double total = 0;
  for (double& weight : weights) total += weight = std::exp(weight - maximum);
  for (std::int64_t i = 0; i < cache.head_dim; ++i) {
    double sum = 0;
    for (std::int64_t p = begin; p < end; ++p) {
      sum += weights[static_cast<std::size_t>(p - begin)] *
             cached(cache.v, cache, (base + p) * cache.head_dim + i);
    }
    out[i] = static_cast<float>(sum / total);
  }
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
