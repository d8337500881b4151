// Stores keys and values of new tokens in the cache, rounded to its dtype.
#include "kernels/half.h"
#include "kernels/reference/operations.h"

namespace spqr::reference {
namespace {

void store(void* destination, const KvLayer& cache, Matrix source, std::int64_t first) {
  for (std::int64_t t = 0; t < source.rows; ++t) {
    for (std::int64_t h = 0; h < cache.kv_heads; ++h) {
      const float* from = source.data + t * source.cols + h * cache.head_dim;
      const std::int64_t to = (h * cache.capacity + first + t) * cache.head_dim;
      for (std::int64_t i = 0; i < cache.head_dim; ++i) {
        if (cache.dtype == DType::f32) {
          static_cast<float*>(destination)[to + i] = from[i];
        } else {
          static_cast<std::uint16_t*>(destination)[to + i] = f32_to_f16(from[i]);
        }
      }
    }
  }
}

}  // namespace

void append(const KvLayer& cache, Matrix k, Matrix v, std::int64_t first) {
  store(cache.k, cache, k, first);
  store(cache.v, cache, v, first);
}

}  // namespace spqr::reference
