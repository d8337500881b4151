// Stores keys and values of new tokens in the cache, rounded to its type.
#include "kernels/reference/operations.h"

namespace spqr::reference {
namespace {

void store(const KvLayer& cache, const CachedRows& rows, Matrix source, std::int64_t first) {
  for (std::int64_t t = 0; t < source.rows; ++t) {
    for (std::int64_t h = 0; h < cache.kv_heads; ++h)
      store_cache_row(rows.type, source.data + t * source.cols + h * cache.head_dim, cache.head_dim,
                      cache.row(rows, h, first + t));
  }
}

}  // namespace

void append(const KvLayer& cache, Matrix k, Matrix v, std::int64_t first) {
  store(cache, cache.k, k, first);
  store(cache, cache.v, v, first);
}

}  // namespace spqr::reference
