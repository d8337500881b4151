// Products with activations in f32, and rows as f32; part of the strip kernels (spqr_strip_body.h): compiled
// once per instruction set, hence the anonymous namespace. Per group of columns and row
//   sum w x = s (sum q x - z sum x)
// so that statistics are applied once per group, and no sum runs across lanes.
#pragma once

#include "kernels/cpu/spqr_strip_statistics.h"

namespace spqr {
namespace {

// sums += q x over one unit for vectors kFirst .. kFirst + kVectors of rows.
template <int kBits, int kFirst, int kVectors>
inline __attribute__((always_inline)) void add_unit(const std::byte* unit, const float* x, f32v* sums) {
#pragma GCC unroll 8
  for (int i = 0; i < kVectors; ++i) {
    CodePair pair = code_pair<kBits>(unit, kFirst + i);
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      sums[i] += to_f32(pair.left >> 8 * j & 0xFFU) * broadcast(x[j]);
      sums[i] += to_f32(pair.right >> 8 * j & 0xFFU) * broadcast(x[j + 4]);
    }
  }
}

// y (64) += a block times x of one token, for vectors kFirst .. kFirst + kVectors of rows.
template <int kBits, int kFirst, int kVectors>
inline void add_vectors(const Block& block, const std::byte* codes, const BlockStatistics& statistics,
                        const float* x, const float* x_sums, float* y) {
  f32v rows[kVectors];
  for (int i = 0; i < kVectors; ++i) rows[i] = load<f32v>(y + kLanes * (kFirst + i));
  std::int64_t group = 0;
  for (std::int64_t first = 0; first < block.columns; first += block.group_columns, ++group) {
    const std::int64_t end = std::min(first + block.group_columns, block.columns);
    f32v q[kVectors] = {};
    for (std::int64_t at = first; at < end; at += kColumns, codes += unit_bytes<kBits>())
      add_unit<kBits, kFirst, kVectors>(codes, x + at, q);
    for (int i = 0; i < kVectors; ++i) {
      const auto scale = load<f32v>(statistics.scale[group] + kLanes * (kFirst + i));
      const auto zero = load<f32v>(statistics.zero[group] + kLanes * (kFirst + i));
      rows[i] += scale * (q[i] - zero * x_sums[group]);
    }
  }
  for (int i = 0; i < kVectors; ++i) store(y + kLanes * (kFirst + i), rows[i]);
}

template <int kBits>
inline void add_block(const Block& block, const std::byte* codes, const BlockStatistics& statistics,
                      const SpqrInputView& x, float* y) {
  constexpr int kHalf = kRowVectors / 2;  // as many sums as leave registers for the rest
  for (std::int64_t t = 0; t < x.tokens; ++t) {
    const float* of = x.x_of(t) + block.index * kBlockColumns;
    const float* sums = x.sums_of(t, block.index);
    add_vectors<kBits, 0, kHalf>(block, codes, statistics, of, sums, y + kRows * t);
    add_vectors<kBits, kHalf, kHalf>(block, codes, statistics, of, sums, y + kRows * t);
  }
}

template <int kBits>
void multiply_f32(const SpqrMatrix& w, const SpqrLayout& layout, std::int64_t strip, const SpqrInputView& x,
                  float* y) {
  BlockStatistics statistics;
  for_each_block(w, layout, strip, [&](const Block& block) {
    decode_statistics(w, layout, block, statistics);
    if (block.height == kRows && block.columns % kColumns == 0) {
      add_block<kBits>(block, block.codes, statistics, x, y);
    } else {
      ExpandedCodes expanded;
      expand_ragged_block(block, kBits, expanded);
      add_block<0>(block, expanded.bytes, statistics, x, y);
    }
  });
}

// Codes of a full unit as bytes, row by row: (64, 8).
template <int kBits>
inline void expand_rows(const std::byte* unit, std::byte* bytes) {
#pragma GCC unroll 8
  for (int i = 0; i < kRowVectors; ++i, bytes += 2 * kVectorBytes) {
    const CodePair pair = code_pair<kBits>(unit, i);
    alignas(64) std::uint32_t quads[2][kLanes];
    store(quads[0], pair.left);
    store(quads[1], pair.right);
    for (int lane = 0; lane < kLanes; ++lane) {
      std::memcpy(bytes + 8 * lane, &quads[0][lane], 4);
      std::memcpy(bytes + 8 * lane + 4, &quads[1][lane], 4);
    }
  }
}

// out (columns) = dense part of one row of a block. bytes: (units, 64, 8).
inline void dequantize_block_row(const Block& block, const BlockStatistics& statistics,
                                 const std::byte* bytes, std::int64_t row, float* out) {
  bytes += kColumns * row;
  std::int64_t group = 0;
  for (std::int64_t first = 0; first < block.columns; first += block.group_columns, ++group) {
    const float scale = statistics.scale[group][row];
    const float zero = statistics.zero[group][row];
    const std::int64_t end = std::min(first + block.group_columns, block.columns);
    for (std::int64_t column = first; column < end; column += kColumns, bytes += kUnitCodes) {
      const f32x8 values = scale * (bytes_to_f32(bytes) - zero);
      const std::int64_t width = std::min(kColumns, end - column);
      std::memcpy(out + column, &values, sizeof(float) * static_cast<std::size_t>(width));
    }
  }
}

template <int kBits>
void dequantize(const SpqrMatrix& w, const SpqrLayout& layout, std::int64_t strip, std::int64_t first_row,
                std::int64_t last_row, float* out) {
  alignas(64) std::byte bytes[kBlockColumns * kRows];
  BlockStatistics statistics;
  for_each_block(w, layout, strip, [&](const Block& block) {
    decode_statistics(w, layout, block, statistics);
    if (block.height == kRows && block.columns % kColumns == 0) {
      for (std::int64_t unit = 0; unit < block.columns / kColumns; ++unit)
        expand_rows<kBits>(block.codes + unit * unit_bytes<kBits>(), bytes + unit * kUnitCodes);
    } else {
      ExpandedCodes expanded;
      expand_ragged_block(block, kBits, expanded);
      for (std::int64_t unit = 0; unit * kColumns < block.columns; ++unit)
        expand_rows<0>(expanded.bytes + unit * kUnitCodes, bytes + unit * kUnitCodes);
    }
    for (std::int64_t row = first_row; row < last_row; ++row)
      dequantize_block_row(block, statistics, bytes, row,
                           out + (row - first_row) * w.n + block.index * kBlockColumns);
  });
  if (w.row_offsets.empty()) return;
  for (std::int64_t row = first_row; row < last_row; ++row) {
    float* out_row = out + (row - first_row) * w.n;
    const std::int64_t global = strip * kRows + row;
    for (std::uint32_t i = w.row_offsets[global]; i < w.row_offsets[global + 1]; ++i)
      out_row[w.col_vals[i] & 0xFFFFU] += f16_to_f32(static_cast<std::uint16_t>(w.col_vals[i] >> 16));
  }
}

}  // namespace
}  // namespace spqr
