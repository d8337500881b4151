// The strip kernels, written once with the compiler's vector types and compiled once per instruction set:
// included only by spqr_strip_<instruction set>.cpp. Everything is in an anonymous namespace: each has its
// own copy.
//
// A vector is 8 rows. 32-byte vector i of a unit's 16 holds the codes of rows 8 (i mod 8) .. + 7 and columns
// 4 floor(i / 8) .. + 3: one 32-bit lane per row, one byte per column. Per group of columns and row
//   sum w x = s (sum q x - z sum x)
// so statistics are applied once per group, and no sum runs across lanes. Products with x in 8 bits are in
// spqr_strip_int8.h.
#pragma once

#include <algorithm>
#include <cstring>

#include "kernels/bit_planes.h"
#include "kernels/cpu/spqr_strip.h"
#include "kernels/cpu/spqr_strip_statistics.h"
#include "kernels/cpu/spqr_vectors.h"

namespace spqr {
namespace {

constexpr std::int64_t kUnitCodes = kRows * SpqrLayout::kUnitColumns;

// Bytes of 8 rows x 4 columns: vector `index` of a full unit. index is known when compiled.
template <int kBits, int kLow = 0>
inline __attribute__((always_inline)) u32x8 unit_codes(const std::byte* unit, int index) {
  constexpr int kWidth = plane_width(kBits, kLow);
  constexpr std::uint32_t kMask = ((1U << kWidth) - 1) * 0x01010101U << kLow;
  const int shift = kWidth * (index / (2 * kWidth)) - kLow;
  u32x8 codes = load<u32x8>(unit + 64 * kLow + 32 * (index % (2 * kWidth)));
  codes = shift >= 0 ? codes >> shift : codes << -shift;
  codes &= kMask;
  if constexpr (kLow + kWidth < kBits) codes |= unit_codes<kBits, kLow + kWidth>(unit, index);
  return codes;
}

// Codes already unpacked to bytes, in the same order.
template <>
inline __attribute__((always_inline)) u32x8 unit_codes<0>(const std::byte* unit, int index) {
  return load<u32x8>(unit + 32 * index);
}

// Sums of q x of 32 rows: as many as leave registers for the rest.
constexpr int kHalfVectors = kRowVectors / 2;
struct RowSums {
  f32x8 of[kHalfVectors];
};

// sums += q x over one unit of 64 rows and 8 columns, for half of its rows. kBits = 0: bytes.
template <int kBits, int kHalf>
inline __attribute__((always_inline)) void add_unit(const std::byte* unit, const float* x, RowSums& sums) {
#pragma GCC unroll 2
  for (int quad = 0; quad < 2; ++quad) {
    const f32x8 x0 = broadcast(x[4 * quad]);
    const f32x8 x1 = broadcast(x[4 * quad + 1]);
    const f32x8 x2 = broadcast(x[4 * quad + 2]);
    const f32x8 x3 = broadcast(x[4 * quad + 3]);
#pragma GCC unroll 4
    for (int i = 0; i < kHalfVectors; ++i) {
      const u32x8 codes = unit_codes<kBits>(unit, kRowVectors * quad + kHalfVectors * kHalf + i);
      f32x8 sum = sums.of[i];
      sum += to_f32(codes & 0xFFU) * x0;
      sum += to_f32(codes >> 8 & 0xFFU) * x1;
      sum += to_f32(codes >> 16 & 0xFFU) * x2;
      sum += to_f32(codes >> 24) * x3;
      sums.of[i] = sum;
    }
  }
}

// Codes of a unit of any height and width in the places of a full unit, zeros beyond.
__attribute__((noinline)) inline void expand_ragged_unit(const std::byte* unit, int bits, std::int64_t height,
                                                         std::int64_t width, std::byte* bytes) {
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

// y += sparse part of the strip's rows times x.
inline void add_outliers(const SpqrMatrix& w, std::int64_t first_row, std::int64_t height, const float* x,
                         float* y) {
  if (w.row_offsets.empty()) return;
  const std::uint32_t* col_vals = w.col_vals.data();
  for (std::int64_t row = 0; row < height; ++row) {
    const std::uint32_t end = w.row_offsets[first_row + row + 1];
    std::uint32_t i = w.row_offsets[first_row + row];
    float even = 0;
    float odd = 0;
    for (; i + 1 < end; i += 2) {
      even += finite_f16(col_vals[i] >> 16) * x[col_vals[i] & 0xFFFFU];
      odd += finite_f16(col_vals[i + 1] >> 16) * x[col_vals[i + 1] & 0xFFFFU];
    }
    if (i < end) even += finite_f16(col_vals[i] >> 16) * x[col_vals[i] & 0xFFFFU];
    y[row] += even + odd;
  }
}

// Up to 256 columns of a strip, the unit of work: whole groups, or part of one that is a whole row.
struct Block {
  static constexpr std::int64_t kMaxColumns = 256;
  static constexpr std::int64_t kMaxGroups = kMaxColumns / 8;

  std::int64_t height;
  std::int64_t first_column;
  std::int64_t columns;
  std::int64_t group_columns;  // of all groups but the last
  std::int64_t group_bytes;
  const std::byte* statistics;  // of the first group, as stored
  const std::byte* codes;
};

// Calls visit(block) for all blocks of a strip from left to right.
template <typename Visit>
inline void for_each_block(const SpqrMatrix& w, const SpqrLayout& layout, std::int64_t index, Visit visit) {
  const std::byte* strip = w.dense.data() + layout.strip_offset(index);
  Block block;
  block.height = layout.strip_height(index);
  block.group_columns = std::min(layout.group_columns(), Block::kMaxColumns);
  block.group_bytes = layout.group_bytes(block.height);
  for (block.first_column = 0; block.first_column < w.n; block.first_column += Block::kMaxColumns) {
    block.columns = std::min(Block::kMaxColumns, w.n - block.first_column);
    block.codes = strip + layout.unit_offset(block.height, block.first_column / SpqrLayout::kUnitColumns);
    block.statistics = strip + layout.group_offset(block.height, block.first_column / layout.group_columns());
    visit(block);
  }
}

// Sums of q x over `columns` columns from `codes` on, for half of the rows.
template <int kBits, int kHalf>
inline RowSums sum_columns(std::int64_t height, std::int64_t columns, const std::byte* codes,
                           const float* x) {
  constexpr std::int64_t kColumns = SpqrLayout::kUnitColumns;
  const std::int64_t full = height == kRows ? columns / kColumns : 0;
  RowSums sums{};
  for (std::int64_t unit = 0; unit < full; ++unit) {
    add_unit<kBits, kHalf>(codes + unit * 64 * kBits, x + unit * kColumns, sums);
  }
  for (std::int64_t unit = full; unit * kColumns < columns; ++unit) {
    alignas(32) std::byte bytes[kUnitCodes];
    expand_ragged_unit(codes + unit * plane_bytes(height * kColumns, kBits), kBits, height,
                       std::min(kColumns, columns - unit * kColumns), bytes);
    add_unit<0, kHalf>(bytes, x + unit * kColumns, sums);
  }
  return sums;
}

// rows += s (sum q x - z sum x) for half of the rows.
template <int kHalf>
inline void add_group(const RowSums& sums, const GroupStatistics& statistics, float x_sum, float* rows) {
  for (int i = 0; i < kHalfVectors; ++i) {
    const int row = kLanes * (kHalfVectors * kHalf + i);
    const f32x8 centred = sums.of[i] - load<f32x8>(statistics.zero + row) * x_sum;
    store(rows + row, load<f32x8>(rows + row) + load<f32x8>(statistics.scale + row) * centred);
  }
}

// rows += the block times x, outliers aside.
template <int kBits>
inline void add_block(const SpqrMatrix& w, const SpqrLayout& layout, const Block& block,
                      const SpqrInputView& x, float* rows) {
  const std::byte* codes = block.codes;
  const std::byte* stored = block.statistics;
  const float* x_sum = x.sums + block.first_column / x.span_columns;
  GroupStatistics statistics;
  for (std::int64_t first = 0; first < block.columns;
       first += block.group_columns, stored += block.group_bytes, ++x_sum) {
    const std::int64_t columns = std::min(block.group_columns, block.columns - first);
    const float* group_x = x.x + block.first_column + first;
    decode_statistics(w, layout, stored, block.height, statistics);
    add_group<0>(sum_columns<kBits, 0>(block.height, columns, codes, group_x), statistics, *x_sum, rows);
    add_group<1>(sum_columns<kBits, 1>(block.height, columns, codes, group_x), statistics, *x_sum, rows);
    codes += plane_bytes(block.height * block.group_columns, kBits);
  }
}

template <int kBits>
void matvec_strip(const SpqrMatrix& w, const SpqrLayout& layout, std::int64_t index, const SpqrInputView& x,
                  float* y) {
  alignas(32) float rows[kRows] = {};
  for_each_block(w, layout, index, [&](const Block& block) { add_block<kBits>(w, layout, block, x, rows); });
  const std::int64_t height = layout.strip_height(index);
  add_outliers(w, index * kRows, height, x.x, rows);
  std::memcpy(y, rows, sizeof(float) * static_cast<std::size_t>(height));
}

// Codes of a full unit as bytes, row by row: (64, 8).
template <int kBits>
inline void expand_rows(const std::byte* unit, std::byte* bytes) {
#pragma GCC unroll 8
  for (int i = 0; i < kRowVectors; ++i) {
    const u32x8 left = unit_codes<kBits>(unit, i);
    const u32x8 right = unit_codes<kBits>(unit, kRowVectors + i);
    store(bytes + 64 * i, __builtin_shufflevector(left, right, 0, 8, 1, 9, 2, 10, 3, 11));
    store(bytes + 64 * i + 32, __builtin_shufflevector(left, right, 4, 12, 5, 13, 6, 14, 7, 15));
  }
}

// Codes of a block as bytes: (units, 64, 8).
template <int kBits>
inline void expand_block(const Block& block, std::byte* bytes) {
  constexpr std::int64_t kColumns = SpqrLayout::kUnitColumns;
  const std::byte* codes = block.codes;
  for (std::int64_t first = 0; first < block.columns; first += kColumns, bytes += kUnitCodes) {
    const std::int64_t width = std::min(kColumns, block.columns - first);
    if (block.height == kRows && width == kColumns) {
      expand_rows<kBits>(codes, bytes);
    } else {
      alignas(32) std::byte unit[kUnitCodes];
      expand_ragged_unit(codes, kBits, block.height, width, unit);
      expand_rows<0>(unit, bytes);
    }
    codes += plane_bytes(block.height * kColumns, kBits);
  }
}

// out (columns) = dense part of one row of a block. bytes: of expand_block.
inline void dequantize_block_row(const Block& block, const GroupStatistics* statistics,
                                 const std::byte* bytes, std::int64_t row, float* out) {
  constexpr std::int64_t kColumns = SpqrLayout::kUnitColumns;
  bytes += kColumns * row;
  for (std::int64_t first = 0; first < block.columns; first += block.group_columns, ++statistics) {
    const float scale = statistics->scale[row];
    const float zero = statistics->zero[row];
    const std::int64_t end = std::min(first + block.group_columns, block.columns);
    for (std::int64_t column = first; column < end; column += kColumns, bytes += kUnitCodes) {
      const f32x8 values = scale * (bytes_to_f32(bytes) - zero);
      const std::int64_t width = std::min(kColumns, end - column);
      if (width == kColumns) {
        store(out + column, values);
      } else {
        std::memcpy(out + column, &values, sizeof(float) * static_cast<std::size_t>(width));
      }
    }
  }
}

template <int kBits>
void dequantize_strip(const SpqrMatrix& w, const SpqrLayout& layout, std::int64_t index,
                      std::int64_t first_row, std::int64_t last_row, float* out) {
  alignas(32) std::byte bytes[Block::kMaxColumns * kRows];
  GroupStatistics statistics[Block::kMaxGroups];
  for_each_block(w, layout, index, [&](const Block& block) {
    expand_block<kBits>(block, bytes);
    for (std::int64_t i = 0; i * block.group_columns < block.columns; ++i)
      decode_statistics(w, layout, block.statistics + i * block.group_bytes, block.height, statistics[i]);
    for (std::int64_t row = first_row; row < last_row; ++row) {
      dequantize_block_row(block, statistics, bytes, row, out + (row - first_row) * w.n + block.first_column);
    }
  });
  if (w.row_offsets.empty()) return;
  for (std::int64_t row = first_row; row < last_row; ++row) {
    float* out_row = out + (row - first_row) * w.n;
    const std::int64_t global = index * kRows + row;
    for (std::uint32_t i = w.row_offsets[global]; i < w.row_offsets[global + 1]; ++i) {
      out_row[w.col_vals[i] & 0xFFFFU] += finite_f16(w.col_vals[i] >> 16);
    }
  }
}

inline void matvec_any(const SpqrMatrix& w, const SpqrLayout& layout, std::int64_t strip,
                       const SpqrInputView& x, float* y) {
  using Function = void (*)(const SpqrMatrix&, const SpqrLayout&, std::int64_t, const SpqrInputView&, float*);
  constexpr Function kByBits[] = {matvec_strip<2>, matvec_strip<3>, matvec_strip<4>, matvec_strip<5>,
                                  matvec_strip<6>, matvec_strip<7>, matvec_strip<8>};
  kByBits[w.format.bits - 2](w, layout, strip, x, y);
}

inline void dequantize_any(const SpqrMatrix& w, const SpqrLayout& layout, std::int64_t strip,
                           std::int64_t first, std::int64_t last, float* out) {
  using Function =
      void (*)(const SpqrMatrix&, const SpqrLayout&, std::int64_t, std::int64_t, std::int64_t, float*);
  constexpr Function kByBits[] = {dequantize_strip<2>, dequantize_strip<3>, dequantize_strip<4>,
                                  dequantize_strip<5>, dequantize_strip<6>, dequantize_strip<7>,
                                  dequantize_strip<8>};
  kByBits[w.format.bits - 2](w, layout, strip, first, last, out);
}

}  // namespace
}  // namespace spqr
