// The keys and values of one sequence, all layers, allocated once.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/backend.h"
#include "models/config.h"

namespace spqr {

// Of keys and of values.
struct CacheTypes {
  CacheType k = CacheType::f16;
  CacheType v = CacheType::f16;
};

class KvCache {
 public:
  // Room for `capacity` tokens.
  KvCache(Backend& backend, const ModelConfig& config, std::int64_t capacity, CacheTypes types);
  // Bytes of a token in it; and of such a cache, whose layers are whole cache lines.
  static std::size_t token_bytes(const ModelConfig& config, CacheTypes types);
  static std::size_t bytes(const ModelConfig& config, std::int64_t capacity, CacheTypes types);

  const KvLayer& layer(std::int64_t index) const { return layers_[static_cast<std::size_t>(index)]; }
  std::int64_t capacity() const { return capacity_; }

 private:
  Buffer buffer_;
  std::vector<KvLayer> layers_;
  std::int64_t capacity_ = 0;
};

}  // namespace spqr
