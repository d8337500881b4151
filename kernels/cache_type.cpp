#include "kernels/cache_type.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/half.h"

namespace spqr {
namespace {

// Up to kCacheBlock values; returns the end of the block.
std::byte* store_block(const float* values, std::int64_t count, std::byte* block) {
  constexpr float kLargest = 127;
  float largest = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const float size = std::abs(values[i]);
    largest = size > largest || std::isnan(size) ? size : largest;
  }
  // Codes are of the scale as it is stored.
  const std::uint16_t stored = f32_to_f16(largest / kLargest);
  const float scale = f16_to_f32(stored);
  std::memcpy(block, &stored, sizeof stored);
  for (std::int64_t i = 0; i < count; ++i) {
    const float code = scale == 0 ? 0 : std::nearbyint(values[i] / scale);
    const bool is_number = code >= -kLargest && code <= kLargest;
    const auto byte = static_cast<std::int8_t>(is_number ? code : code > 0 ? kLargest : -kLargest);
    std::memcpy(block + sizeof stored + i, &byte, 1);
  }
  return block + sizeof stored + count;
}

}  // namespace

std::string_view name_of(CacheType type) {
  switch (type) {
    case CacheType::f32:
      return "f32";
    case CacheType::f16:
      return "f16";
    default:
      return "q8_0";
  }
}

void store_cache_row(CacheType type, const float* values, std::int64_t head_dim, std::byte* row) {
  if (type == CacheType::f32) {
    std::memcpy(row, values, static_cast<std::size_t>(head_dim) * sizeof(float));
  } else if (type == CacheType::f16) {
    f32_to_f16(values, reinterpret_cast<std::uint16_t*>(row), static_cast<std::size_t>(head_dim));
  } else {
    for (std::int64_t first = 0; first < head_dim; first += kCacheBlock)
      row = store_block(values + first, std::min(kCacheBlock, head_dim - first), row);
    if (head_dim % 2 != 0) *row = std::byte{0};
  }
}

void load_cache_row(CacheType type, const std::byte* row, std::int64_t head_dim, float* values) {
  if (type == CacheType::f32) {
    std::memcpy(values, row, static_cast<std::size_t>(head_dim) * sizeof(float));
  } else if (type == CacheType::f16) {
    f16_to_f32(reinterpret_cast<const std::uint16_t*>(row), values, static_cast<std::size_t>(head_dim));
  } else {
    for (std::int64_t first = 0; first < head_dim; first += kCacheBlock) {
      const std::int64_t count = std::min(kCacheBlock, head_dim - first);
      std::uint16_t scale = 0;
      std::memcpy(&scale, row, sizeof scale);
      row += sizeof scale;
      for (std::int64_t i = 0; i < count; ++i)
        values[first + i] = f16_to_f32(scale) * static_cast<float>(std::to_integer<std::int8_t>(row[i]));
      row += count;
    }
  }
}

}  // namespace spqr
