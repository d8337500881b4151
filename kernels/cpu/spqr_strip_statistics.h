// Statistics of a group as f32, part of the strip kernels (spqr_strip_body.h): compiled once per instruction
// set, hence the anonymous namespace.
#pragma once

#include <bit>
#include <cstdint>

#include "kernels/bit_planes.h"
#include "kernels/cpu/spqr_vectors.h"
#include "kernels/spqr_layout.h"
#include "kernels/spqr_matrix.h"

namespace spqr {
namespace {

constexpr int kRowVectors = SpqrLayout::kStripRows / kLanes;
constexpr std::int64_t kRows = SpqrLayout::kStripRows;

// f16 of finite values as f32; subnormals too, since the product is exact.
inline float finite_f16(std::uint32_t bits) {
  const float size = std::bit_cast<float>((bits & 0x7FFFU) << 13) * 0x1p112F;
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(size) | (bits & 0x8000U) << 16);
}

inline float read_f16(const std::byte* at) {
  return finite_f16(load<std::uint16_t>(at));
}

// s and z of one group, by row; zeros beyond the strip's height.
struct GroupStatistics {
  alignas(32) float scale[kRows];
  alignas(32) float zero[kRows];
};

// Statistic codes of 32 rows, 32 `half`s: lane l has those of rows l, l + 8, l + 16, l + 24 as bytes.
template <int kBits, int kLow = 0>
inline __attribute__((always_inline)) u32x8 statistic_codes(const std::byte* planes, int half) {
  constexpr int kWidth = plane_width(kBits, kLow);
  constexpr std::uint32_t kMask = (1U << kWidth) - 1;
  const std::byte* plane = planes + 8 * kLow;
  // Code i is at byte i mod (8 kWidth): a word of 8 bytes for each shift, or two, or all four.
  u64x4 words;
  u64x4 shifts;
  if constexpr (kWidth == 1) {
    const auto word = load<std::uint64_t>(plane);
    words = u64x4{word, word, word, word};
    shifts = u64x4{0, 1, 2, 3};
  } else if constexpr (kWidth == 2) {
    const auto first = load<std::uint64_t>(plane);
    const auto second = load<std::uint64_t>(plane + 8);
    words = u64x4{first, second, first, second};
    shifts = u64x4{0, 0, 2, 2};
  } else {
    words = load<u64x4>(plane);
    shifts = u64x4{0, 0, 0, 0};
  }
  words >>= shifts + static_cast<std::uint64_t>(4 * half);
  u32x8 codes = (reinterpret_cast<u32x8>(words) & kMask * 0x01010101U) << kLow;
  if constexpr (kLow + kWidth < kBits) codes |= statistic_codes<kBits, kLow + kWidth>(planes, half);
  return codes;
}

// out = scale (code - zero) for 64 rows; second: [scale, zero, .., ..] of each `beta2` rows.
template <int kBits>
inline void decode_rows(const std::byte* planes, const float* second, int beta2, float* out) {
#pragma GCC unroll 2
  for (int half = 0; half < 2; ++half) {
    u32x8 codes = statistic_codes<kBits>(planes, half);
#pragma GCC unroll 4
    for (int i = 4 * half; i < 4 * half + 4; ++i, codes >>= 8) {
      const float* tile = second + 4 * (kLanes * i / beta2);
      store(out + kLanes * i, tile[0] * (to_f32(codes & 0xFFU) - tile[1]));
    }
  }
}

inline void decode_rows(const std::byte* planes, int bits, const float* second, int beta2, float* out) {
  switch (bits) {
    case 2:
      return decode_rows<2>(planes, second, beta2, out);
    case 3:
      return decode_rows<3>(planes, second, beta2, out);
    case 4:
      return decode_rows<4>(planes, second, beta2, out);
    case 5:
      return decode_rows<5>(planes, second, beta2, out);
    case 6:
      return decode_rows<6>(planes, second, beta2, out);
    case 7:
      return decode_rows<7>(planes, second, beta2, out);
    default:
      return decode_rows<8>(planes, second, beta2, out);
  }
}

inline void decode_full_statistics(const SpqrMatrix& w, const SpqrLayout& layout, const std::byte* group,
                                   GroupStatistics& out) {
  alignas(32) float second[4 * kRowVectors];  // ss sz zs zz of each beta2 rows
  const std::int64_t halves = 4 * layout.tiles(kRows);
  // Reads past the four halves of beta2 = 64, into the codes.
  for (std::int64_t i = 0; i < halves; i += kLanes) store(second + i, load_f16(group + 2 * i));
  for (std::int64_t i = 0; i < halves; i += 4) second[i] *= w.factor;
  const std::byte* scales = group + layout.scale_codes_offset(kRows);
  const std::byte* zeros = group + layout.zero_codes_offset(kRows);
  decode_rows(scales, w.format.scale_bits, second, w.format.beta2, out.scale);
  decode_rows(zeros, w.format.zero_bits, second + 2, w.format.beta2, out.zero);
}

// Any height.
inline void decode_statistics(const SpqrMatrix& w, const SpqrLayout& layout, const std::byte* group,
                              std::int64_t height, GroupStatistics& out) {
  const SpqrFormat& format = w.format;
  if (height < kRows) out = {};
  if (!format.quantized_statistics()) {
    const std::byte* zeros = group + SpqrLayout::unquantized_zeros_offset(height);
    std::int64_t row = 0;
    for (; row + kLanes <= height; row += kLanes) {
      store(out.scale + row, w.factor * load_f16(group + 2 * row));
      store(out.zero + row, load_f16(zeros + 2 * row));
    }
    for (; row < height; ++row) {
      out.scale[row] = w.factor * read_f16(group + 2 * row);
      out.zero[row] = read_f16(zeros + 2 * row);
    }
    return;
  }
  if (height == kRows) return decode_full_statistics(w, layout, group, out);
  for (std::int64_t row = 0; row < height; ++row) {
    const std::byte* tile = group + 8 * (row / format.beta2);
    const int scale = read_code(group + layout.scale_codes_offset(height), height, format.scale_bits, row);
    const int zero = read_code(group + layout.zero_codes_offset(height), height, format.zero_bits, row);
    out.scale[row] = w.factor * read_f16(tile) * (static_cast<float>(scale) - read_f16(tile + 2));
    out.zero[row] = read_f16(tile + 4) * (static_cast<float>(zero) - read_f16(tile + 6));
  }
}

}  // namespace
}  // namespace spqr
