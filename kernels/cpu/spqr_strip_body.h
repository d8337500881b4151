// The strip kernels, written once with the compiler's vector types and compiled once per instruction set:
// included only by spqr_strip_<instruction set>.cpp. Everything is in an anonymous namespace: each has its
// own copy.
//
// A vector is 8 rows. 32-byte vector i of a unit's 16 holds the codes of rows 8 (i mod 8) .. + 7 and columns
// 4 floor(i / 8) .. + 3: one 32-bit lane per row, one byte per column. Per group of columns and row
//   sum w x = s (sum q x - z sum x)
// so statistics are applied once per group, and no sum runs across lanes.
#pragma once

#include <algorithm>
#include <bit>
#include <cstring>

#include "kernels/bit_planes.h"
#include "kernels/cpu/spqr_strip.h"

namespace spqr {
namespace {

constexpr int kLanes = 8;
constexpr int kRowVectors = SpqrLayout::kStripRows / kLanes;
constexpr std::int64_t kRows = SpqrLayout::kStripRows;
constexpr std::int64_t kUnitCodes = kRows * SpqrLayout::kUnitColumns;

typedef float f32x8 __attribute__((vector_size(32)));
typedef std::uint32_t u32x8 __attribute__((vector_size(32)));
typedef std::int32_t i32x8 __attribute__((vector_size(32)));
typedef std::uint8_t u8x8 __attribute__((vector_size(8)));
typedef std::uint16_t u16x8 __attribute__((vector_size(16)));

template <typename Vector>
inline Vector load(const void* from) {
  Vector v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

template <typename Vector>
inline void store(void* to, Vector v) {
  std::memcpy(to, &v, sizeof v);
}

inline f32x8 to_f32(u32x8 v) {
  return __builtin_convertvector(reinterpret_cast<i32x8>(v), f32x8);
}
inline f32x8 broadcast(float x) {
  return f32x8{x, x, x, x, x, x, x, x};
}

// f16 of finite values as f32; subnormals too, since the product is exact.
inline f32x8 finite_f16(u16x8 halves) {
  const u32x8 bits = __builtin_convertvector(halves, u32x8);
  const f32x8 size = reinterpret_cast<f32x8>((bits & 0x7FFFU) << 13) * 0x1p112F;
  return reinterpret_cast<f32x8>(reinterpret_cast<u32x8>(size) | (bits & 0x8000U) << 16);
}

inline float finite_f16(std::uint32_t bits) {
  const float size = std::bit_cast<float>((bits & 0x7FFFU) << 13) * 0x1p112F;
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(size) | (bits & 0x8000U) << 16);
}

inline float read_f16(const std::byte* at) {
  return finite_f16(load<std::uint16_t>(at));
}

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

// Sums of q x by row.
struct RowSums {
  f32x8 of[kRowVectors];
};

// sums += q x over one unit of 64 rows and 8 columns. kBits = 0: bytes.
template <int kBits>
inline __attribute__((always_inline)) void add_unit(const std::byte* unit, const float* x, RowSums& sums) {
#pragma GCC unroll 2
  for (int quad = 0; quad < 2; ++quad) {
    const f32x8 x0 = broadcast(x[4 * quad]);
    const f32x8 x1 = broadcast(x[4 * quad + 1]);
    const f32x8 x2 = broadcast(x[4 * quad + 2]);
    const f32x8 x3 = broadcast(x[4 * quad + 3]);
#pragma GCC unroll 8
    for (int i = 0; i < kRowVectors; ++i) {
      const u32x8 codes = unit_codes<kBits>(unit, kRowVectors * quad + i);
      f32x8 sum = sums.of[i];
      sum += to_f32(codes & 0xFFU) * x0;
      sum += to_f32(codes >> 8 & 0xFFU) * x1;
      sum += to_f32(codes >> 16 & 0xFFU) * x2;
      sum += to_f32(codes >> 24) * x3;
      sums.of[i] = sum;
    }
  }
}

// s and z of one group, by row; zeros beyond the strip's height.
struct GroupStatistics {
  alignas(32) float scale[kRows];
  alignas(32) float zero[kRows];
};

// 64 codes -> bytes.
template <int kBits, int kLow = 0>
inline void unpack_rows(const std::byte* planes, std::uint64_t (&codes)[8]) {
  constexpr int kWidth = plane_width(kBits, kLow);
  constexpr std::uint64_t kMask = ((1U << kWidth) - 1) * 0x0101010101010101U;
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    const auto word = load<std::uint64_t>(planes + 8 * kLow + 8 * (i % kWidth));
    const std::uint64_t part = (word >> (kWidth * (i / kWidth)) & kMask) << kLow;
    codes[i] = kLow == 0 ? part : codes[i] | part;
  }
  if constexpr (kLow + kWidth < kBits) unpack_rows<kBits, kLow + kWidth>(planes, codes);
}

inline void unpack_rows(const std::byte* planes, int bits, std::uint64_t (&codes)[8]) {
  switch (bits) {
    case 2:
      return unpack_rows<2>(planes, codes);
    case 3:
      return unpack_rows<3>(planes, codes);
    case 4:
      return unpack_rows<4>(planes, codes);
    case 5:
      return unpack_rows<5>(planes, codes);
    case 6:
      return unpack_rows<6>(planes, codes);
    case 7:
      return unpack_rows<7>(planes, codes);
    default:
      return unpack_rows<8>(planes, codes);
  }
}

// Eight codes as f32.
inline f32x8 codes_to_f32(std::uint64_t codes) {
  return __builtin_convertvector(__builtin_convertvector(load<u8x8>(&codes), i32x8), f32x8);
}

inline void decode_full_statistics(const SpqrMatrix& w, const SpqrLayout& layout, const std::byte* group,
                                   GroupStatistics& out) {
  alignas(32) float second[4 * kRowVectors];  // ss sz zs zz of each beta2 rows
  const int halves = 4 * static_cast<int>(kRows) / w.format.beta2;
  // Reads past the four halves of beta2 = 64, into the codes.
  for (int i = 0; i < halves; i += kLanes) store(second + i, finite_f16(load<u16x8>(group + 2 * i)));
  std::uint64_t scale_codes[8];
  std::uint64_t zero_codes[8];
  unpack_rows(group + layout.scale_codes_offset(kRows), w.format.scale_bits, scale_codes);
  unpack_rows(group + layout.zero_codes_offset(kRows), w.format.zero_bits, zero_codes);
  for (int i = 0; i < kRowVectors; ++i) {
    const float* tile = second + 4 * (kLanes * i / w.format.beta2);
    store(out.scale + kLanes * i, w.factor * tile[0] * (codes_to_f32(scale_codes[i]) - tile[1]));
    store(out.zero + kLanes * i, tile[2] * (codes_to_f32(zero_codes[i]) - tile[3]));
  }
}

// Any height.
inline void decode_statistics(const SpqrMatrix& w, const SpqrLayout& layout, const std::byte* group,
                              std::int64_t height, GroupStatistics& out) {
  const SpqrFormat& format = w.format;
  if (height < kRows) out = {};
  if (!format.quantized_statistics()) {
    for (std::int64_t row = 0; row < height; ++row) {
      out.scale[row] = w.factor * read_f16(group + 2 * row);
      out.zero[row] = read_f16(group + SpqrLayout::unquantized_zeros_offset(height) + 2 * row);
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

// Codes of a full unit as bytes, in their order.
template <int kBits>
inline void expand_full_unit(const std::byte* unit, std::byte* bytes) {
#pragma GCC unroll 16
  for (int i = 0; i < 2 * kRowVectors; ++i) store(bytes + 32 * i, unit_codes<kBits>(unit, i));
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

// sums = q x over the units of columns [first, first + columns), first a multiple of 8.
template <int kBits>
inline void span_sums_of(const SpqrLayout& layout, const std::byte* strip, std::int64_t height,
                         std::int64_t first, std::int64_t columns, const float* x, RowSums& result) {
  std::int64_t unit = first / SpqrLayout::kUnitColumns;
  const std::int64_t end = (first + columns + SpqrLayout::kUnitColumns - 1) / SpqrLayout::kUnitColumns;
  const std::byte* codes = strip + layout.unit_offset(height, unit);
  RowSums sums{};
  if (height == kRows) {
    const std::int64_t full_end = (first + columns) / SpqrLayout::kUnitColumns;
    for (; unit < full_end; ++unit, codes += 64 * kBits) {
      add_unit<kBits>(codes, x + unit * SpqrLayout::kUnitColumns, sums);
    }
  }
  alignas(32) std::byte bytes[kUnitCodes];
  for (; unit < end; ++unit, codes += plane_bytes(height * SpqrLayout::kUnitColumns, kBits)) {
    expand_ragged_unit(codes, kBits, height, layout.unit_width(unit), bytes);
    add_unit<0>(bytes, x + unit * SpqrLayout::kUnitColumns, sums);
  }
  result = sums;
}

template <int kBits>
void matvec_strip(const SpqrMatrix& w, const SpqrLayout& layout, std::int64_t index, const float* x,
                  const float* span_sums, float* y) {
  const std::byte* strip = w.dense.data() + layout.strip_offset(index);
  const std::int64_t height = layout.strip_height(index);
  const SpqrSpans spans(w);
  alignas(32) float rows[kRows] = {};
  GroupStatistics statistics;
  for (std::int64_t span = 0; span < spans.count; ++span) {
    if (span % spans.spans_per_group == 0) {
      const std::int64_t group = span / spans.spans_per_group;
      decode_statistics(w, layout, strip + layout.group_offset(height, group), height, statistics);
    }
    const std::int64_t first = span * spans.columns;
    RowSums sums;
    span_sums_of<kBits>(layout, strip, height, first, std::min(spans.columns, w.n - first), x, sums);
    for (int i = 0; i < kRowVectors; ++i) {
      const int at = kLanes * i;
      const f32x8 centred = sums.of[i] - load<f32x8>(statistics.zero + at) * span_sums[span];
      store(rows + at, load<f32x8>(rows + at) + load<f32x8>(statistics.scale + at) * centred);
    }
  }
  add_outliers(w, index * kRows, height, x, rows);
  std::memcpy(y, rows, sizeof(float) * static_cast<std::size_t>(height));
}

// out = s (q - z), 8 columns of one row. quads: its bytes in the first and the second column quad of a unit.
inline void dequantize_unit_row(const std::byte* quads, float scale, float zero, std::int64_t width,
                                float* out) {
  std::uint64_t codes = load<std::uint32_t>(quads);
  codes |= static_cast<std::uint64_t>(load<std::uint32_t>(quads + kUnitCodes / 2)) << 32;
  const f32x8 values = scale * (codes_to_f32(codes) - zero);
  if (width == SpqrLayout::kUnitColumns) {
    store(out, values);
  } else {
    std::memcpy(out, &values, sizeof(float) * static_cast<std::size_t>(width));
  }
}

template <int kBits>
void dequantize_strip(const SpqrMatrix& w, const SpqrLayout& layout, std::int64_t index,
                      std::int64_t first_row, std::int64_t last_row, float* out) {
  constexpr std::int64_t kColumns = SpqrLayout::kUnitColumns;
  const std::byte* strip = w.dense.data() + layout.strip_offset(index);
  const std::int64_t height = layout.strip_height(index);
  const SpqrSpans spans(w);
  alignas(32) std::byte bytes[SpqrSpans::kMaxColumns * kRows];
  GroupStatistics statistics;
  for (std::int64_t span = 0; span < spans.count; ++span) {
    if (span % spans.spans_per_group == 0) {
      const std::int64_t group = span / spans.spans_per_group;
      decode_statistics(w, layout, strip + layout.group_offset(height, group), height, statistics);
    }
    const std::int64_t first_unit = span * spans.columns / kColumns;
    const std::int64_t last_unit = std::min(first_unit + spans.columns / kColumns, layout.units());
    const std::byte* codes = strip + layout.unit_offset(height, first_unit);
    for (std::int64_t unit = first_unit; unit < last_unit; ++unit) {
      const std::int64_t width = layout.unit_width(unit);
      std::byte* expanded = bytes + (unit - first_unit) * kUnitCodes;
      if (height == kRows && width == kColumns) {
        expand_full_unit<kBits>(codes, expanded);
      } else {
        expand_ragged_unit(codes, kBits, height, width, expanded);
      }
      codes += plane_bytes(height * width, kBits);
    }
    for (std::int64_t row = first_row; row < last_row; ++row) {
      float* out_row = out + (row - first_row) * w.n;
      for (std::int64_t unit = first_unit; unit < last_unit; ++unit) {
        dequantize_unit_row(bytes + (unit - first_unit) * kUnitCodes + SpqrLayout::kQuadColumns * row,
                            statistics.scale[row], statistics.zero[row], layout.unit_width(unit),
                            out_row + unit * kColumns);
      }
    }
  }
  if (w.row_offsets.empty()) return;
  for (std::int64_t row = first_row; row < last_row; ++row) {
    float* out_row = out + (row - first_row) * w.n;
    const std::int64_t global = index * kRows + row;
    for (std::uint32_t i = w.row_offsets[global]; i < w.row_offsets[global + 1]; ++i) {
      out_row[w.col_vals[i] & 0xFFFFU] += finite_f16(w.col_vals[i] >> 16);
    }
  }
}

void matvec_any(const SpqrMatrix& w, const SpqrLayout& layout, std::int64_t strip, const float* x,
                const float* span_sums, float* y) {
  using Function =
      void (*)(const SpqrMatrix&, const SpqrLayout&, std::int64_t, const float*, const float*, float*);
  constexpr Function kByBits[] = {matvec_strip<2>, matvec_strip<3>, matvec_strip<4>, matvec_strip<5>,
                                  matvec_strip<6>, matvec_strip<7>, matvec_strip<8>};
  kByBits[w.format.bits - 2](w, layout, strip, x, span_sums, y);
}

void dequantize_any(const SpqrMatrix& w, const SpqrLayout& layout, std::int64_t strip, std::int64_t first,
                    std::int64_t last, float* out) {
  using Function =
      void (*)(const SpqrMatrix&, const SpqrLayout&, std::int64_t, std::int64_t, std::int64_t, float*);
  constexpr Function kByBits[] = {dequantize_strip<2>, dequantize_strip<3>, dequantize_strip<4>,
                                  dequantize_strip<5>, dequantize_strip<6>, dequantize_strip<7>,
                                  dequantize_strip<8>};
  kByBits[w.format.bits - 2](w, layout, strip, first, last, out);
}

}  // namespace
}  // namespace spqr
