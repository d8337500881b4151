// Strip kernels for x in 8 bits, part of the strip kernels (spqr_strip_body.h): compiled once per instruction
// set, hence the anonymous namespace. The including file defines
//   DotSums, add_dot, total: sums of products of codes of up to 4 bits and signed bytes, 8 rows to a vector
//   load_f16: 8 stored values as f32
//   look_up: a table of 8 values
// Per span of columns and row, with x = a c for 8-bit codes c:
//   sum w x = s (a sum q c - z a sum c)
#pragma once

#include <bit>
#include <iterator>

#include "kernels/cpu/spqr_strip_body.h"

namespace spqr {
namespace {

// Sums over a span in 16 bits: pairs of products of 4-bit codes, a span has 8 quads of columns.
static_assert(8 * 2 * 15 * 127 <= 32767 && SpqrSpans::kMaxColumnsInt8 == 8 * SpqrLayout::kQuadColumns);

// How far ahead of its use the stream is asked for: what a core reads from memory in some hundreds of cycles.
constexpr std::int64_t kAhead = 2048;

inline void prefetch(const std::byte* from, std::int64_t bytes) {
  for (std::int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(from + kAhead + i);
}

// The lowest 4 bits (kBase 0) or the ones above (kBase 4) of the codes of vectors i and i + 8 of a full unit,
// in the low and the high half of each byte. i < 8 is known when compiled.
template <int kBits, int kBase, int kLow = kBase>
inline __attribute__((always_inline)) u32x8 paired_codes(const std::byte* unit, int i) {
  constexpr int kWidth = plane_width(kBits, kLow);
  constexpr std::uint32_t kMask = (((1U << kWidth) - 1) << (kLow - kBase)) * 0x11111111U;
  const int shift = kWidth * (i / (2 * kWidth)) - (kLow - kBase);
  u32x8 codes = load<u32x8>(unit + 64 * kLow + 32 * (i % (2 * kWidth)));
  codes = shift >= 0 ? codes >> shift : codes << -shift;
  if constexpr (kWidth < 4) codes &= kMask;
  constexpr int kNext = kLow + kWidth;
  if constexpr (kNext < kBits && kNext < kBase + 4) codes |= paired_codes<kBits, kBase, kNext>(unit, i);
  return codes;
}

// The same of codes already unpacked to bytes.
template <int kBase>
inline u32x8 paired_bytes(const std::byte* unit, int i) {
  const auto low = load<u32x8>(unit + 32 * i) >> kBase & 0x0F0F0F0FU;
  const auto high = load<u32x8>(unit + 32 * (i + kRowVectors)) >> kBase & 0x0F0F0F0FU;
  return low | high << 4;
}

inline u32x8 four_codes(const std::int8_t* x) {
  const auto four = load<std::uint32_t>(x);
  return u32x8{four, four, four, four, four, four, four, four};
}

struct SpanSums {
  DotSums of[kRowVectors] = {};
};

template <typename Codes>
inline __attribute__((always_inline)) void add_unit(Codes codes, const std::int8_t* x, SpanSums& sums) {
  const u32x8 left = four_codes(x);
  const u32x8 right = four_codes(x + SpqrLayout::kQuadColumns);
#pragma GCC unroll 8
  for (int i = 0; i < kRowVectors; ++i) {
    const u32x8 pair = codes(i);
    sums.of[i] = add_dot(sums.of[i], pair & 0x0F0F0F0FU, left);
    sums.of[i] = add_dot(sums.of[i], pair >> 4 & 0x0F0F0F0FU, right);
  }
}

// A span of any height and width.
template <int kBits, int kBase>
__attribute__((noinline)) SpanSums ragged_span(std::int64_t height, std::int64_t columns,
                                               const std::byte* codes, const std::int8_t* x) {
  SpanSums sums;
  constexpr std::int64_t kColumns = SpqrLayout::kUnitColumns;
  for (std::int64_t first = 0; first < columns; first += kColumns) {
    alignas(32) std::byte bytes[kUnitCodes];
    expand_ragged_unit(codes, kBits, height, std::min(kColumns, columns - first), bytes);
    add_unit([&](int i) { return paired_bytes<kBase>(bytes, i); }, x + first, sums);
    codes += plane_bytes(height * kColumns, kBits);
  }
  return sums;
}

// What a span is: the strip's height, its own columns, codes and x.
struct Span {
  std::int64_t height;
  std::int64_t columns;
  const std::byte* codes;
  const std::int8_t* x;
  float scale;
};

// q += a sum q c over the span, of the lowest 4 bits of q (kBase 0) or the ones above (kBase 4).
template <int kBits, int kUnits, int kBase>
inline __attribute__((always_inline)) void add_span(const Span& span, f32x8* q) {
  SpanSums sums;
  if (__builtin_expect(span.height == kRows && span.columns == kUnits * SpqrLayout::kUnitColumns, 1)) {
#pragma GCC unroll 4
    for (int unit = 0; unit < kUnits; ++unit) {
      const std::byte* codes = span.codes + unit * 64 * kBits;
      add_unit([&](int i) { return paired_codes<kBits, kBase>(codes, i); },
               span.x + unit * SpqrLayout::kUnitColumns, sums);
    }
  } else {
    sums = ragged_span<kBits, kBase>(span.height, span.columns, span.codes, span.x);
  }
  const f32x8 factor = broadcast(static_cast<float>(1 << kBase) * span.scale);
#pragma GCC unroll 8
  for (int i = 0; i < kRowVectors; ++i) q[i] += factor * total(sums.of[i]);
  if constexpr (kBase == 0 && kBits > 4) add_span<kBits, kUnits, 4>(span, q);
}

// q (64 rows) = sum q x of a group or the part of one that the block has, returns sum x.
template <int kBits, int kUnits>
inline __attribute__((always_inline)) float sum_group(std::int64_t height, std::int64_t columns,
                                                      const std::byte* codes, const SpqrInputView& x,
                                                      std::int64_t first_column, f32x8* q) {
  constexpr std::int64_t kColumns = kUnits * SpqrLayout::kUnitColumns;
  const std::int64_t bytes = plane_bytes(height * kColumns, kBits);
  std::int64_t index = first_column / kColumns;
  float x_sum = 0;
  for (int i = 0; i < kRowVectors; ++i) q[i] = f32x8{};
  for (std::int64_t at = 0; at < columns; at += kColumns, ++index, codes += bytes) {
    prefetch(codes, bytes);
    add_span<kBits, kUnits, 0>(
        {height, std::min(kColumns, columns - at), codes, x.codes + first_column + at, x.scales[index]}, q);
    x_sum += x.sums[index];
  }
  return x_sum;
}

// rows += s (q - z sum x)
inline void add_group(const GroupStatistics& statistics, const f32x8* q, float x_sum, f32x8* rows) {
  for (int i = 0; i < kRowVectors; ++i) {
    const f32x8 centred = q[i] - load<f32x8>(statistics.zero + kLanes * i) * x_sum;
    rows[i] += load<f32x8>(statistics.scale + kLanes * i) * centred;
  }
}

// The same straight from the statistics of the presets: 3 bits, tiles of 16 rows. Both factors of
//   s (q - z sum x) = (cs - sz) (ss q - ss zs (cz - zz) sum x)
// come from tables of 8 values for each tile. second: [ss sz zs zz] of each tile.
constexpr int kTableBits = 3;
constexpr int kTableRows = 16;
inline __attribute__((always_inline)) void add_group_by_tables(const float* second, const std::byte* scales,
                                                               const std::byte* zeros, const f32x8* q,
                                                               float x_sum, f32x8* rows) {
  constexpr int kTileVectors = kTableRows / kLanes;
  const f32x8 codes{0, 1, 2, 3, 4, 5, 6, 7};
#pragma GCC unroll 2
  for (int half = 0; half < 2; ++half) {
    u32x8 scale_codes = statistic_codes<kTableBits>(scales, half);
    u32x8 zero_codes = statistic_codes<kTableBits>(zeros, half);
#pragma GCC unroll 2
    for (int tile = 2 * half; tile < 2 * half + 2; ++tile) {
      const float* of = second + 4 * tile;
      const f32x8 scale = broadcast(of[0]);
      const f32x8 scale_table = codes - of[1];
      const f32x8 zero_table = scale * of[2] * x_sum * (codes - of[3]);
#pragma GCC unroll 2
      for (int i = kTileVectors * tile; i < kTileVectors * (tile + 1); ++i) {
        rows[i] += look_up(scale_table, scale_codes) * (scale * q[i] - look_up(zero_table, zero_codes));
        scale_codes >>= 8;
        zero_codes >>= 8;
      }
    }
  }
}

// Second-level statistics of all groups of a block, f32.
struct SecondLevels {
  static constexpr std::int64_t kValues = 4 * kRows / kTableRows;
  alignas(32) float of[Block::kMaxGroups * kValues];

  SecondLevels(const SpqrMatrix& w, const Block& block) {
    const std::byte* from = block.statistics;
    float* out = of;
    for (std::int64_t first = 0; first < block.columns; first += block.group_columns) {
      for (std::int64_t i = 0; i < kValues; i += kLanes) store(out + i, load_f16(from + 2 * i));
      for (std::int64_t i = 0; i < kValues; i += 4) out[i] *= w.factor;
      from += block.group_bytes;
      out += kValues;
    }
  }
};

template <int kBits, int kUnits>
inline void add_block_by_tables(const SpqrMatrix& w, const SpqrLayout& layout, const Block& block,
                                const SpqrInputView& x, f32x8* rows) {
  const SecondLevels second_levels(w, block);
  const std::int64_t scales = layout.scale_codes_offset(kRows);
  const std::int64_t zeros = layout.zero_codes_offset(kRows);
  const float* second = second_levels.of;
  const std::byte* stored = block.statistics;
  const std::byte* codes = block.codes;
  for (std::int64_t first = 0; first < block.columns; first += block.group_columns) {
    const std::int64_t columns = std::min(block.group_columns, block.columns - first);
    f32x8 q[kRowVectors];
    prefetch(stored, block.group_bytes);
    const float x_sum = sum_group<kBits, kUnits>(kRows, columns, codes, x, block.first_column + first, q);
    add_group_by_tables(second, stored + scales, stored + zeros, q, x_sum, rows);
    second += SecondLevels::kValues;
    stored += block.group_bytes;
    codes += kRows * block.group_columns / 8 * kBits;
  }
}

template <int kBits, int kUnits>
inline void add_block(const SpqrMatrix& w, const SpqrLayout& layout, const Block& block,
                      const SpqrInputView& x, f32x8* rows) {
  const std::byte* stored = block.statistics;
  const std::byte* codes = block.codes;
  for (std::int64_t first = 0; first < block.columns; first += block.group_columns) {
    const std::int64_t columns = std::min(block.group_columns, block.columns - first);
    f32x8 q[kRowVectors];
    GroupStatistics statistics;
    prefetch(stored, block.group_bytes);
    const float x_sum =
        sum_group<kBits, kUnits>(block.height, columns, codes, x, block.first_column + first, q);
    decode_statistics(w, layout, stored, block.height, statistics);
    add_group(statistics, q, x_sum, rows);
    stored += block.group_bytes;
    codes += plane_bytes(block.height * block.group_columns, kBits);
  }
}

// kUnits: of a span.
template <int kBits, int kUnits>
void matvec_int8_strip(const SpqrMatrix& w, const SpqrLayout& layout, std::int64_t index,
                       const SpqrInputView& x, float* y) {
  const SpqrFormat& format = w.format;
  const std::int64_t height = layout.strip_height(index);
  const bool by_tables = height == kRows && format.scale_bits == kTableBits &&
                         format.zero_bits == kTableBits && format.beta2 == kTableRows;
  f32x8 sums[kRowVectors] = {};
  for_each_block(w, layout, index, [&](const Block& block) {
    by_tables ? add_block_by_tables<kBits, kUnits>(w, layout, block, x, sums)
              : add_block<kBits, kUnits>(w, layout, block, x, sums);
  });
  alignas(32) float rows[kRows];
  std::memcpy(rows, sums, sizeof(rows));
  add_outliers(w, index * kRows, height, x.x, rows);
  std::memcpy(y, rows, sizeof(float) * static_cast<std::size_t>(height));
}

template <int kBits>
void matvec_int8_of(const SpqrMatrix& w, const SpqrLayout& layout, std::int64_t strip, const SpqrInputView& x,
                    float* y) {
  switch (x.span_columns / SpqrLayout::kUnitColumns) {
    case 1:
      return matvec_int8_strip<kBits, 1>(w, layout, strip, x, y);
    case 2:
      return matvec_int8_strip<kBits, 2>(w, layout, strip, x, y);
    default:
      return matvec_int8_strip<kBits, 4>(w, layout, strip, x, y);
  }
}

inline void matvec_int8_any(const SpqrMatrix& w, const SpqrLayout& layout, std::int64_t strip,
                            const SpqrInputView& x, float* y) {
  using Function = void (*)(const SpqrMatrix&, const SpqrLayout&, std::int64_t, const SpqrInputView&, float*);
  constexpr Function kByBits[] = {matvec_int8_of<2>, matvec_int8_of<3>, matvec_int8_of<4>, matvec_int8_of<5>,
                                  matvec_int8_of<6>, matvec_int8_of<7>, matvec_int8_of<8>};
  kByBits[w.format.bits - 2](w, layout, strip, x, y);
}

// combine(v0, combine(v1, ...)) of the lanes.
template <typename Vector, typename Combine>
inline auto over_lanes(Vector v, Combine combine) {
  v = combine(v, __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3));
  v = combine(v, __builtin_shufflevector(v, v, 2, 3, 0, 1, 6, 7, 4, 5));
  v = combine(v, __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6));
  return v[0];
}

// The larger one in each lane; NaN if one is.
inline f32x8 larger(f32x8 a, f32x8 b) {
  return (b > a) | (b != b) ? b : a;
}

// Whole units of x, the last one filled up with zeros.
void round_input(const float* x, std::int64_t n, std::int64_t span_columns, std::int8_t* codes, float* scales,
                 float* sums) {
  constexpr float kSmallest = 1e-30F;  // below it, 127 / largest is not finite
  constexpr float kRound = 0x1.8p23F;  // |v| < 2^22 added to it is the nearest integer in the lowest bits
  constexpr auto kRoundBits = std::bit_cast<std::uint32_t>(kRound);
  for (std::int64_t first = 0; first < n; first += span_columns, ++scales, ++sums) {
    const std::int64_t end = std::min(first + span_columns, n);
    f32x8 largest{};
    for (std::int64_t j = first; j < end; j += kLanes)
      largest = larger(largest, reinterpret_cast<f32x8>(load<u32x8>(x + j) & 0x7FFFFFFFU));
    const float most = over_lanes(largest, larger);
    const float inverse = most < kSmallest ? 0.0F : 127 / most;
    u32x8 total{};  // unsigned: the codes of a NaN are any, and their sum must not overflow
    for (std::int64_t j = first; j < end; j += kLanes) {
      const f32x8 shifted = load<f32x8>(x + j) * inverse + kRound;
      const u32x8 code = reinterpret_cast<u32x8>(shifted) - kRoundBits;
      store(codes + j, __builtin_convertvector(reinterpret_cast<i32x8>(code), i8x8));
      total += code;
    }
    const auto sum = static_cast<std::int32_t>(over_lanes(total, [](u32x8 a, u32x8 b) { return a + b; }));
    *scales = most < kSmallest ? 0.0F : most / 127;
    *sums = *scales * static_cast<float>(sum);
  }
}

}  // namespace
}  // namespace spqr
