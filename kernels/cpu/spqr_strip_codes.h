// Weight codes of a strip, part of the strip kernels (spqr_strip_body.h): compiled once per instruction set,
// hence the anonymous namespace.
//
// A vector is kLanes rows. Vector i of a unit's kUnitVectors holds the codes of rows kLanes (i mod
// kRowVectors) onwards and of one quad of columns, the first ones the left quad: one 32-bit lane per row, one
// byte per column.
#pragma once

#include <algorithm>
#include <cstring>

#include "kernels/bit_planes.h"
#include "kernels/cpu/spqr_input.h"
#include "kernels/cpu/vectors.h"
#include "kernels/spqr_layout.h"
#include "kernels/spqr_matrix.h"

namespace spqr {
namespace {

constexpr std::int64_t kRows = SpqrLayout::kStripRows;
constexpr std::int64_t kColumns = SpqrLayout::kUnitColumns;
constexpr int kRowVectors = static_cast<int>(kRows) / kLanes;
constexpr std::int64_t kUnitCodes = kRows * kColumns;
constexpr int kVectorBytes = 4 * kLanes;

// A plane of a unit, shifted so that vector `index`, known when compiled, has its bits of the codes at kLow
// of each byte. Other bits are whatever they are.
template <int kWidth, int kLow>
inline __attribute__((always_inline)) u32v shifted_plane(const std::byte* plane, int index) {
  constexpr int kVectors = kWidth * 64 / kVectorBytes;
  const int shift = kWidth * (index / kVectors) - kLow;
  const auto bits = load<u32v>(plane + kVectorBytes * (index % kVectors));
  return shift >= 0 ? bits >> shift : bits << -shift;
}

// a where the mask has ones, b elsewhere.
inline __attribute__((always_inline)) u32v select(std::uint32_t mask, u32v a, u32v b) {
#if SPQR_LANES == 16  // one instruction that GCC does not find
  return reinterpret_cast<u32v>(_mm512_ternarylogic_epi32(reinterpret_cast<__m512i>(a),
                                                          reinterpret_cast<__m512i>(b),
                                                          _mm512_set1_epi32(static_cast<int>(mask)), 0xE4));
#else
  return (a & mask) | (b & ~mask);
#endif
}

// The lowest 4 bits (kBase 0) or the ones above (kBase 4) of the codes of vectors i and i + kRowVectors of a
// full unit, in the low and the high half of each byte; bits that codes do not have are whatever they are.
// i < kRowVectors is known when compiled.
template <int kBits, int kBase>
inline __attribute__((always_inline)) u32v paired_codes(const std::byte* unit, int i) {
  constexpr int kLeft = std::min(kBits - kBase, 4);
  const std::byte* plane = unit + 64 * kBase;
  if constexpr (kLeft == 3) {
    return select(0x33333333U, shifted_plane<2, 0>(plane, i), shifted_plane<1, 2>(plane + 128, i));
  } else {
    return shifted_plane<kLeft, 0>(plane, i);
  }
}

// The codes of vectors i and i + kRowVectors.
struct CodePair {
  u32v left, right;
};

template <int kBits>
inline __attribute__((always_inline)) CodePair code_pair(const std::byte* unit, int i) {
  constexpr std::uint32_t kMask = ((1U << kBits) - 1) * 0x01010101U;
  u32v left = paired_codes<kBits, 0>(unit, i);
  u32v right = left >> 4;
  if constexpr (kBits > 4) {
    constexpr std::uint32_t kLow = 0x0F0F0F0FU;
    const u32v high = paired_codes<kBits, 4>(unit, i);
    left = select(kLow, left, high << 4);
    right = select(kLow, right, high);
  }
  return {left & kMask, right & kMask};
}

// Codes already unpacked to bytes, in the same order.
template <>
inline __attribute__((always_inline)) CodePair code_pair<0>(const std::byte* unit, int i) {
  return {load<u32v>(unit + kVectorBytes * i), load<u32v>(unit + kVectorBytes * (i + kRowVectors))};
}

// Bytes of a full unit; kBits = 0: unpacked.
template <int kBits>
constexpr std::int64_t unit_bytes() {
  return kBits == 0 ? kUnitCodes : 64 * kBits;
}

// How far ahead of its use the stream is asked for: with pages of 4 KB the next page but one, so that its
// address is known in time.
constexpr std::int64_t kAhead = 8192;

inline void prefetch(const std::byte* from, std::int64_t bytes) {
  for (std::int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(from + kAhead + i);
}

// Up to kBlockColumns columns of a strip: whole groups, or part of one that is larger.
struct Block {
  std::int64_t height;
  std::int64_t index;
  std::int64_t columns;
  std::int64_t group_columns;  // of all groups but the last
  std::int64_t group_bytes;
  const std::byte* statistics;  // of the first group, as stored
  const std::byte* codes;

  std::int64_t groups() const { return (columns + group_columns - 1) / group_columns; }
};

// Calls visit(block) for all blocks of a strip from left to right.
template <typename Visit>
inline void for_each_block(const SpqrMatrix& w, const SpqrLayout& layout, std::int64_t index, Visit visit) {
  const std::byte* strip = w.dense.data() + layout.strip_offset(index);
  Block block;
  block.height = layout.strip_height(index);
  block.group_columns = block_group_columns(w.format, w.n);
  block.group_bytes = layout.group_bytes(block.height);
  const std::int64_t code_bytes =
      plane_bytes(block.height * kColumns, w.format.bits) * (kBlockColumns / kColumns);
  for (std::int64_t first = 0; first < w.n; first += kBlockColumns) {
    block.index = first / kBlockColumns;
    block.columns = std::min(kBlockColumns, w.n - first);
    if (first % layout.chunk_columns() == 0) {
      block.codes = strip + layout.unit_offset(block.height, first / kColumns);
      block.statistics = strip + layout.group_offset(block.height, first / layout.group_columns());
    }
    visit(block);
    block.codes += code_bytes;
    if (layout.group_columns() <= kBlockColumns)
      block.statistics += kBlockColumns / layout.group_columns() * block.group_bytes;
  }
}

// Codes of a unit of any height and width in the places of a full unit, zeros beyond.
inline void expand_ragged_unit(const std::byte* unit, int bits, std::int64_t height, std::int64_t width,
                               std::byte* bytes) {
  std::uint8_t codes[kUnitCodes];
  unpack_planes(unit, height * width, bits, codes);
  std::memset(bytes, 0, kUnitCodes);
  const std::uint8_t* next = codes;
  for (std::int64_t column = 0; column < width; column += SpqrLayout::kQuadColumns) {
    const std::int64_t quad_width = std::min(SpqrLayout::kQuadColumns, width - column);
    for (std::int64_t row = 0; row < height; ++row, next += quad_width) {
      std::memcpy(bytes + column * kRows + row * SpqrLayout::kQuadColumns, next, quad_width);
    }
  }
}

// The codes of a block of any height and width in the places of a full one, as bytes, zeros beyond.
struct ExpandedCodes {
  alignas(64) std::byte bytes[kBlockColumns * kRows];
};

__attribute__((noinline)) inline void expand_ragged_block(const Block& block, int bits, ExpandedCodes& out) {
  std::memset(out.bytes, 0, sizeof out.bytes);
  const std::byte* codes = block.codes;
  std::byte* bytes = out.bytes;
  for (std::int64_t first = 0; first < block.columns; first += kColumns, bytes += kUnitCodes) {
    expand_ragged_unit(codes, bits, block.height, std::min(kColumns, block.columns - first), bytes);
    codes += plane_bytes(block.height * kColumns, bits);
  }
}

}  // namespace
}  // namespace spqr
