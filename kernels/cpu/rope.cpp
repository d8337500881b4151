// Rotary embedding of all heads of q or k, in place, and the cache rows that follow from it.
#include <algorithm>
#include <cmath>

#include "kernels/cpu/operations.h"
#include "kernels/threads.h"

namespace spqr::cpu {

void RopeTable::prepare(const Rope& rope, std::int64_t positions) {
  if (!std::equal(rope.inverse_frequency.begin(), rope.inverse_frequency.end(), inverse_frequency_.begin(),
                  inverse_frequency_.end())) {
    inverse_frequency_.assign(rope.inverse_frequency.begin(), rope.inverse_frequency.end());
    half_ = static_cast<std::int64_t>(inverse_frequency_.size());
    cosines_.clear();
    sines_.clear();
  }
  for (std::int64_t p = static_cast<std::int64_t>(cosines_.size()) / std::max<std::int64_t>(half_, 1);
       p < positions; ++p) {
    for (const float frequency : inverse_frequency_) {
      const auto angle = static_cast<double>(static_cast<float>(p) * frequency);
      cosines_.push_back(static_cast<float>(std::cos(angle)));
      sines_.push_back(static_cast<float>(std::sin(angle)));
    }
  }
}

void rope(Matrix x, const RopeTable& table, std::int64_t head_dim, std::int64_t first) {
  const std::int64_t half = head_dim / 2;
  const auto rotate = [&](std::int64_t t) {
    const float* cosines = table.cosines(first + t);
    const float* sines = table.sines(first + t);
    for (float* head = x.data + t * x.cols; head < x.data + (t + 1) * x.cols; head += head_dim) {
#pragma omp simd
      for (std::int64_t i = 0; i < half; ++i) {
        const float a = head[i];
        const float b = head[i + half];
        head[i] = a * cosines[i] - b * sines[i];
        head[i + half] = b * cosines[i] + a * sines[i];
      }
    }
  };
  parallel_for(x.rows, rotate, x.rows > 1);
}

void append(const KvLayer& cache, Matrix k, Matrix v, std::int64_t first) {
  const auto append_token = [&](std::int64_t t) {
    for (std::int64_t h = 0; h < cache.kv_heads; ++h) {
      const std::int64_t offset = t * k.cols + h * cache.head_dim;
      store_cache_row(cache.k.type, k.data + offset, cache.head_dim, cache.row(cache.k, h, first + t));
      store_cache_row(cache.v.type, v.data + offset, cache.head_dim, cache.row(cache.v, h, first + t));
    }
  };
  parallel_for(k.rows, append_token, k.rows > 1);
}

}  // namespace spqr::cpu
