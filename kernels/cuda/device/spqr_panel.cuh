// What a lane reads of a packed matrix in the layout of spqr_device_layout.h: codes and statistics.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/device/instructions.cuh"
#include "kernels/cuda/spqr_device_layout.h"

namespace spqr::cuda {

// A placed matrix as kernels take it. row_offsets is null where there are no outliers.
struct SpqrOperand {
  SpqrDeviceLayout layout;
  float factor;
  const std::byte* dense;
  const std::uint32_t* row_offsets;
  const std::uint32_t* col_vals;
};

// Of two rows of a strip and a group: row 16 (lane % 4) + lane / 4 and the one 8 below it.
struct RowStatistics {
  float s[2];
  float z[2];
};

// f16 1024 in both halves; or-ed to codes below 1024 it makes numbers of them.
inline constexpr std::uint32_t kHalves1024 = 0x64006400U;
inline constexpr std::uint32_t kHalvesOne = 0x3C003C00U;

__device__ __forceinline__ int first_row_of(int lane) {
  return 16 * (lane % 4) + lane / 4;
}

// The uint4 of word 0 of a lane's codes; word w is 32 w further.
__device__ __forceinline__ const uint4* panel_words(const SpqrOperand& w, int strip, int panel, int lane) {
  const std::int64_t at = (std::int64_t{strip} * w.layout.panels + panel) * w.layout.bits;
  return reinterpret_cast<const uint4*>(w.dense) + at * SpqrDeviceLayout::kLanes + lane;
}

// Nibbles of a tile's codes, of up to 4 bits, from their planes. `first`: the word of the widest plane that
// has the tile; `last`: of 3 bits, the word of the plane of width 1.
__device__ __forceinline__ std::uint32_t tile_nibbles(std::uint32_t first, std::uint32_t last, int bits,
                                                      int tile) {
  constexpr std::uint32_t kOnes = 0x11111111U;
  constexpr std::uint32_t kThrees = 0x33333333U;
  if (bits == 4) return first;
  if (bits == 1) return first >> tile & kOnes;
  const std::uint32_t low = first >> (tile % 2 * 2) & kThrees;
  return bits == 2 ? low : and_or(last >> tile << 2U, kOnes << 2U, low);
}

// Which word of its planes that is.
__device__ __forceinline__ int first_word(int bits, int tile) {
  return bits == 4 ? tile : bits == 1 ? 0 : tile / 2;
}

// Register r of a fragment as two f16: codes 0..255, exact. low, high: nibbles of bits 0..3 and of 4..7.
__device__ __forceinline__ std::uint32_t code_pair(std::uint32_t low, std::uint32_t high, int r) {
  std::uint32_t pair = and_or(low >> (4 * r), 0x000F000FU, kHalves1024);
  pair = and_or(high >> (4 * r) << 4U, 0x00F000F0U, pair);
  return f16x2_subtract(pair, kHalves1024);
}

__device__ __forceinline__ std::uint32_t component(const uint4& words, int block) {
  return block == 0 ? words.x : block == 1 ? words.y : block == 2 ? words.z : words.w;
}

// A lane's field; bits above its width are undefined.
__device__ __forceinline__ std::uint32_t statistic_field(const SpqrDeviceLayout& layout,
                                                         const std::byte* dense, std::int64_t group,
                                                         int lane) {
  const int width = layout.field_words;
  const auto* words = reinterpret_cast<const std::uint32_t*>(dense + layout.fields_offset) + group * width;
  const int bit = width * lane;
  const int word = bit / 32;
  return __funnelshift_r(words[word], words[min(word + 1, width - 1)], static_cast<unsigned>(bit % 32));
}

__device__ __forceinline__ float low_half(std::uint32_t pair) {
  return f16_to_f32(static_cast<std::uint16_t>(pair & 0xFFFFU));
}
__device__ __forceinline__ float high_half(std::uint32_t pair) {
  return f16_to_f32(static_cast<std::uint16_t>(pair >> 16U));
}

// s is multiplied with `factor`: w.factor, or 1 for what is stored.
__device__ __forceinline__ RowStatistics row_statistics(const SpqrOperand& w, int strip, int group, int lane,
                                                        float factor) {
  const SpqrDeviceLayout& layout = w.layout;
  const std::int64_t at = std::int64_t{strip} * layout.groups + group;
  const uint2* quads = reinterpret_cast<const uint2*>(w.dense + layout.quads_offset) + at * layout.quads;
  if (layout.field_words == 0) {
    const uint2 rows = quads[lane];
    return {{factor * low_half(rows.x), factor * low_half(rows.y)}, {high_half(rows.x), high_half(rows.y)}};
  }
  const std::uint32_t field = statistic_field(layout, w.dense, at, lane);
  const std::uint32_t scale_mask = (1U << layout.scale_bits) - 1;
  const std::uint32_t zero_mask = (1U << layout.zero_bits) - 1;
  const std::uint32_t zeros = field >> (2 * layout.scale_bits);
  RowStatistics result;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const uint2 quad = quads[(first_row_of(lane) + 8 * i) >> layout.beta2_shift];
    const auto scale = static_cast<float>(field >> (i * layout.scale_bits) & scale_mask);
    const auto zero = static_cast<float>(zeros >> (i * layout.zero_bits) & zero_mask);
    result.s[i] = factor * low_half(quad.x) * (scale - high_half(quad.x));
    result.z[i] = low_half(quad.y) * (zero - high_half(quad.y));
  }
  return result;
}

}  // namespace spqr::cuda
