// Products with activations in 16 bits, beside the strip kernels in f32 (spqr_strip_body.h), for instruction
// sets where they are faster. The including file defines, besides what those ask for,
//   DotSums: sums of products, a row to a lane; zero when made
//   add_dot(sums, codes, x): adds the products of a quad of columns, codes as bytes, x as store_codes left it
//   total(sums): i32v
//   store_codes(x, c): 8 bytes for each 4 whole numbers of up to 32639
//   kMostSums: vectors of DotSums at once that leave registers for the rest
// Per group of columns and row, with x = a c for whole numbers c:
//   sum w x = a s (sum q c - z sum c)
// The sum over the codes is exact: 255 * 32639 * 256 fits in 31 bits.
#pragma once

#include <bit>
#include <utility>

#include "kernels/cpu/spqr_strip_body.h"

namespace spqr {
namespace {

// Bytes of x for a unit.
constexpr std::int64_t kUnitInput = 2 * kColumns;

template <int kTokens, int kVectors>
struct UnitSums {
  DotSums of[kTokens][kVectors];
};

// sums += sum q c over kUnits units for vectors kFirst .. kFirst + kVectors of rows.   x: of the first token,
// the others `stride` further each.
template <int kBits, int kUnits, int kFirst, int kTokens, int kVectors>
inline __attribute__((always_inline)) void add_units(const std::byte* codes, const std::int8_t* x,
                                                     std::int64_t stride, UnitSums<kTokens, kVectors>& sums) {
#pragma GCC unroll 4
  for (int unit = 0; unit < kUnits; ++unit, codes += unit_bytes<kBits>(), x += kUnitInput) {
    CodePair pairs[kVectors];
#pragma GCC unroll 8
    for (int i = 0; i < kVectors; ++i) pairs[i] = code_pair<kBits>(codes, kFirst + i);
#pragma GCC unroll 4
    for (int t = 0; t < kTokens; ++t) {
      const std::int8_t* of = x + t * stride;
#pragma GCC unroll 8
      for (int i = 0; i < kVectors; ++i) add_dot(sums.of[t][i], pairs[i].left, of);
#pragma GCC unroll 8
      for (int i = 0; i < kVectors; ++i) add_dot(sums.of[t][i], pairs[i].right, of + kUnitInput / 2);
    }
  }
}

// y (kTokens, 64) += a block times x for vectors kFirst .. kFirst + kVectors of rows.
template <int kBits, int kUnits, int kTokens, int kFirst, int kVectors>
inline void multiply_vectors(const Block& block, const std::byte* codes, const BlockStatistics& statistics,
                             const SpqrInputView& x, std::int64_t token, float* y) {
  constexpr std::int64_t kBytes = kUnits * unit_bytes<kBits>();
  const std::int8_t* x_codes = x.codes_of(token, block.index);
  const float* x_sums = x.sums_of(token, block.index);
  const std::int64_t sums_stride = x.blocks() * x.sums_per_block;
  f32v rows[kTokens][kVectors] = {};
  std::int64_t group = 0;
  for (std::int64_t first = 0; first < block.columns; first += block.group_columns, ++group) {
    const std::int64_t end = std::min(first + block.group_columns, block.columns);
    UnitSums<kTokens, kVectors> q{};
    for (std::int64_t at = first; at < end; at += kUnits * kColumns) {
      if constexpr (kFirst == 0 && kBits != 0) prefetch(codes, kBytes);
      add_units<kBits, kUnits, kFirst>(codes, x_codes, 2 * x.columns, q);
      codes += kBytes;
      x_codes += kUnits * kUnitInput;
    }
#pragma GCC unroll 8
    for (int i = 0; i < kVectors; ++i) {
      const auto scale = load<f32v>(statistics.scale[group] + kLanes * (kFirst + i));
      const auto zero = load<f32v>(statistics.zero[group] + kLanes * (kFirst + i));
#pragma GCC unroll 4
      for (int t = 0; t < kTokens; ++t) {
        const f32v sum = broadcast(x_sums[t * sums_stride + group]);
        rows[t][i] += scale * (__builtin_convertvector(total(q.of[t][i]), f32v) - zero * sum);
      }
    }
  }
  for (int t = 0; t < kTokens; ++t) {
    const float a = x.scale_of(token + t, block.index);
    for (int i = 0; i < kVectors; ++i) {
      float* out = y + kRows * t + kLanes * (kFirst + i);
      store(out, load<f32v>(out) + a * rows[t][i]);
    }
  }
}

template <int kBits, int kUnits, int kTokens>
void multiply_tokens(const Block& block, const std::byte* codes, const BlockStatistics& statistics,
                     const SpqrInputView& x, std::int64_t token, float* y) {
  constexpr int kVectors = std::min(kRowVectors, kMostSums / kTokens);
  [&]<int... kPart>(std::integer_sequence<int, kPart...>) {
    (multiply_vectors<kBits, kUnits, kTokens, kPart * kVectors, kVectors>(block, codes, statistics, x, token,
                                                                          y),
     ...);
  }
  (std::make_integer_sequence<int, kRowVectors / kVectors>{});
}

// Tokens that are multiplied with codes that were unpacked once.
constexpr std::int64_t kTokensAtOnce = 4;

// y (tokens, 64) += a block times x.
template <int kBits, int kUnits>
void multiply_block(const Block& block, const std::byte* codes, const BlockStatistics& statistics,
                    const SpqrInputView& x, float* y) {
  std::int64_t token = 0;
  for (; token + kTokensAtOnce <= x.tokens; token += kTokensAtOnce)
    multiply_tokens<kBits, kUnits, kTokensAtOnce>(block, codes, statistics, x, token, y + kRows * token);
  float* rest = y + kRows * token;
  switch (x.tokens - token) {
    case 3:
      return multiply_tokens<kBits, kUnits, 3>(block, codes, statistics, x, token, rest);
    case 2:
      return multiply_tokens<kBits, kUnits, 2>(block, codes, statistics, x, token, rest);
    case 1:
      return multiply_tokens<kBits, kUnits, 1>(block, codes, statistics, x, token, rest);
    default:
      return;
  }
}

// kUnits: a part of a group.
template <int kBits, int kUnits>
void multiply_int16(const SpqrMatrix& w, const SpqrLayout& layout, std::int64_t strip, const SpqrInputView& x,
                    float* y) {
  BlockStatistics statistics;
  for_each_block(w, layout, strip, [&](const Block& block) {
    decode_statistics(w, layout, block, statistics);
    if (__builtin_expect(block.height == kRows && block.columns % (kUnits * kColumns) == 0, 1)) {
      multiply_block<kBits, kUnits>(block, block.codes, statistics, x, y);
    } else {
      ExpandedCodes expanded;
      expand_ragged_block(block, kBits, expanded);
      multiply_block<0, kUnits>(block, expanded.bytes, statistics, x, y);
    }
  });
}

template <int kBits>
void multiply_int16(const SpqrMatrix& w, const SpqrLayout& layout, std::int64_t strip, const SpqrInputView& x,
                    float* y) {
  switch (w.format.beta1) {
    case 8:
      return multiply_int16<kBits, 1>(w, layout, strip, x, y);
    case 16:
      return multiply_int16<kBits, 2>(w, layout, strip, x, y);
    default:
      return multiply_int16<kBits, 4>(w, layout, strip, x, y);
  }
}

// The larger one in each lane; NaN if one is.
inline f32v larger(f32v a, f32v b) {
  return ((b > a) | (b != b)) ? b : a;
}

inline float largest_size(const float* x, std::int64_t columns) {
  f32v lanes{};
  for (std::int64_t j = 0; j < columns; j += kLanes)
    lanes = larger(lanes, std::bit_cast<f32v>(load<u32v>(x + j) & 0x7FFFFFFFU));
  float largest = 0;
  for (int i = 0; i < kLanes; ++i) largest = lanes[i] > largest || lanes[i] != lanes[i] ? lanes[i] : largest;
  return largest;
}

// x (kBlockColumns) in 16 bits.
float round_block(const float* x, std::int64_t group_columns, std::int8_t* codes, float* sums) {
  constexpr float kLargest = 32639;    // 256 * 127 + 127: both bytes are signed
  constexpr float kSmallest = 1e-30F;  // below it, kLargest / largest is not finite
  constexpr float kRound = 0x1.8p23F;  // added to a number, leaves the nearest integer in the lowest bits
  const float largest = largest_size(x, kBlockColumns);
  const float inverse = largest < kSmallest ? 0.0F : kLargest / largest;
  alignas(64) std::int32_t numbers[kBlockColumns];
  for (std::int64_t j = 0; j < kBlockColumns; j += kLanes) {
    const u32v bits = std::bit_cast<u32v>(load<f32v>(x + j) * inverse + kRound);
    const u32v number = bits - std::bit_cast<std::uint32_t>(kRound);
    store(numbers + j, number);
    store_codes(codes + 2 * j, std::bit_cast<i32v>(number));
  }
  for (std::int64_t first = 0; first < kBlockColumns; first += group_columns, ++sums) {
    std::uint32_t sum = 0;  // unsigned: the numbers of a NaN are any, and their sum must not overflow
    const std::int64_t end = std::min(first + group_columns, kBlockColumns);
    for (std::int64_t j = first; j < end; ++j) sum += static_cast<std::uint32_t>(numbers[j]);
    *sums = static_cast<float>(static_cast<std::int32_t>(sum));
  }
  return largest < kSmallest ? 0.0F : largest / kLargest;
}

void multiply_strip_int16(const SpqrMatrix& w, const SpqrLayout& layout, std::int64_t strip,
                          const SpqrInputView& x, float* y) {
  static constexpr Multiply kByBits[] = {multiply_int16<2>, multiply_int16<3>, multiply_int16<4>,
                                         multiply_int16<5>, multiply_int16<6>, multiply_int16<7>,
                                         multiply_int16<8>};
  multiply_strip(kByBits, w, layout, strip, x, y);
}

}  // namespace
}  // namespace spqr
