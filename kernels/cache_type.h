// How a KV cache stores its rows: the head_dim values of one key or value of one head.
//   f32, f16: one after the other
//   q8_0: 32 values at a time, the last ones may be fewer: the scale as f16, and each value as a signed byte,
//         value = scale * byte; a row of an odd number of bytes ends with one of padding. As llama.cpp has
//         it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace spqr {

enum class CacheType : std::uint8_t { f32, f16, q8_0 };

// "f32", "f16", "q8_0"
std::string_view name_of(CacheType type);

inline constexpr std::int64_t kCacheBlock = 32;  // values of q8_0 that share a scale

constexpr std::int64_t cache_row_bytes(CacheType type, std::int64_t head_dim) {
  if (type == CacheType::f32) return 4 * head_dim;
  if (type == CacheType::f16) return 2 * head_dim;
  return 2 * ((head_dim + kCacheBlock - 1) / kCacheBlock) + (head_dim + 1) / 2 * 2;
}

// values (head_dim) -> row, rounded to the nearest
void store_cache_row(CacheType type, const float* values, std::int64_t head_dim, std::byte* row);
// row -> values (head_dim)
void load_cache_row(CacheType type, const std::byte* row, std::int64_t head_dim, float* values);

}  // namespace spqr
