#include "models/kv_cache.h"

#include <fmt/core.h>

#include <stdexcept>

namespace spqr {
namespace {

// Values of k, or of v, of one layer.
std::size_t layer_elements(const ModelConfig& config, std::int64_t capacity) {
  return static_cast<std::size_t>(config.num_key_value_heads) * static_cast<std::size_t>(capacity) *
         static_cast<std::size_t>(config.head_dim);
}

}  // namespace

std::size_t KvCache::bytes(const ModelConfig& config, std::int64_t capacity, DType dtype) {
  return 2 * static_cast<std::size_t>(config.num_hidden_layers) * layer_elements(config, capacity) *
         size_of(dtype);
}

KvCache::KvCache(Backend& backend, const ModelConfig& config, std::int64_t capacity, DType dtype)
    : capacity_(capacity) {
  if (capacity <= 0) throw std::invalid_argument(fmt::format("a KV cache of {} tokens", capacity));
  if (dtype != DType::f32 && dtype != DType::f16) {
    throw std::invalid_argument(fmt::format("a KV cache of {}; there are f32 and f16", name_of(dtype)));
  }
  buffer_ = backend.allocate(bytes(config, capacity, dtype));
  auto* next = static_cast<std::byte*>(buffer_.data());
  const std::size_t part = layer_elements(config, capacity) * size_of(dtype);
  for (std::int64_t l = 0; l < config.num_hidden_layers; ++l, next += 2 * part) {
    layers_.push_back({next, next + part, dtype, config.num_key_value_heads, capacity, config.head_dim});
  }
}

void KvCache::set_length(std::int64_t length) {
  if (length < 0 || length > capacity_) {
    throw std::out_of_range(fmt::format("length {} of a KV cache of {} tokens", length, capacity_));
  }
  length_ = length;
}

}  // namespace spqr
