#include "models/kv_cache.h"

#include <fmt/format.h>

#include <stdexcept>

namespace spqr {
namespace {

[[noreturn]] void refuse_size(std::int64_t capacity) {
  throw std::invalid_argument(fmt::format("a KV cache for {} tokens is larger than any memory", capacity));
}

// Bytes of the keys (or the values) of one layer, whole cache lines.
std::size_t half_layer_bytes(const ModelConfig& config, std::int64_t capacity, CacheType type) {
  constexpr std::size_t kAlignment = 64;
  if (capacity < 1) {
    throw std::invalid_argument(fmt::format("a KV cache for {} tokens, expected at least one", capacity));
  }
  auto bytes = static_cast<std::size_t>(cache_row_bytes(type, config.head_dim));
  for (const std::int64_t extent : {config.num_key_value_heads, capacity}) {
    if (__builtin_mul_overflow(bytes, static_cast<std::size_t>(extent), &bytes)) refuse_size(capacity);
  }
  if (__builtin_add_overflow(bytes, kAlignment - 1, &bytes)) refuse_size(capacity);
  return bytes / kAlignment * kAlignment;
}

}  // namespace

std::size_t KvCache::token_bytes(const ModelConfig& config, CacheTypes types) {
  const std::int64_t rows = config.num_hidden_layers * config.num_key_value_heads;
  return static_cast<std::size_t>(
      rows * (cache_row_bytes(types.k, config.head_dim) + cache_row_bytes(types.v, config.head_dim)));
}

std::size_t KvCache::bytes(const ModelConfig& config, std::int64_t capacity, CacheTypes types) {
  std::size_t total = half_layer_bytes(config, capacity, types.k);
  if (__builtin_add_overflow(total, half_layer_bytes(config, capacity, types.v), &total) ||
      __builtin_mul_overflow(total, static_cast<std::size_t>(config.num_hidden_layers), &total)) {
    refuse_size(capacity);
  }
  return total;
}

KvCache::KvCache(Backend& backend, const ModelConfig& config, std::int64_t capacity, CacheTypes types)
    : buffer_(backend.allocate(bytes(config, capacity, types))), capacity_(capacity) {
  const std::size_t k_bytes = half_layer_bytes(config, capacity, types.k);
  const std::size_t v_bytes = half_layer_bytes(config, capacity, types.v);
  auto* next = static_cast<std::byte*>(buffer_.data());
  for (std::int64_t l = 0; l < config.num_hidden_layers; ++l, next += k_bytes + v_bytes) {
    layers_.push_back(
        {{next, types.k}, {next + k_bytes, types.v}, config.num_key_value_heads, capacity, config.head_dim});
  }
}

}  // namespace spqr
