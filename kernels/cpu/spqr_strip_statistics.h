// Statistics of groups as f32, part of the strip kernels (spqr_strip_body.h): compiled once per instruction
// set, hence the anonymous namespace.
#pragma once

#include <cstdint>

#include "kernels/cpu/spqr_strip_codes.h"
#include "kernels/half.h"

namespace spqr {
namespace {

// s and z of the groups of a block, by row; zeros beyond the strip's height.
struct BlockStatistics {
  static constexpr std::int64_t kMaxGroups = kBlockColumns / 8;
  alignas(64) float scale[kMaxGroups][kRows];
  alignas(64) float zero[kMaxGroups][kRows];
};

inline float read_f16(const std::byte* at) {
  return f16_to_f32(load<std::uint16_t>(at));
}

// The kWidth words of 8 bytes of a plane, one after the other until a vector is full.
template <int kWidth>
inline __attribute__((always_inline)) u64v plane_words(const std::byte* plane) {
  if constexpr (kWidth == 1) return load<std::uint64_t>(plane) - u64v{};
  if constexpr (kWidth == 2) return two_words(plane);
  if constexpr (kWidth == 4) return four_words(plane);
}

// Statistic codes of 64 rows: the lowest kBits bits of each lane of vector i are that of a row, the others
// whatever they are. Stored, rows r, r + 8, r + 16 and r + 24 of 32 are the bytes of one lane once unpacked;
// a code of a plane is at byte i mod (8 kWidth), shifted left.
template <int kBits, int kLow = 0>
inline __attribute__((always_inline)) void statistic_codes(const std::byte* planes, u32v* out) {
  constexpr int kWidth = plane_width(kBits, kLow);
  constexpr std::uint32_t kLower = ((1U << kLow) - 1) * 0x01010101U;
  constexpr int kRuns = kLanes / 8;  // of 8 rows in a vector
  const u64v words = plane_words<kWidth>(planes + 8 * kLow);
  u64v shifts{};
  for (int i = 0; i < kLanes / 2; ++i) shifts[i] = kWidth * (i % 4 / kWidth) + 8 * (i / 4);
#pragma GCC unroll 2
  for (int half = 0; half < 2; ++half) {
    const u32v codes = reinterpret_cast<u32v>(words >> (shifts + static_cast<std::uint64_t>(4 * half)))
                       << kLow;
    u32v& first = out[4 / kRuns * half];
    first = kLow == 0 ? codes : select(kLower, first, codes);
  }
  if constexpr (kLow + kWidth < kBits) {
    statistic_codes<kBits, kLow + kWidth>(planes, out);
  } else {
#pragma GCC unroll 8
    for (int i = 0; i < kRowVectors; ++i) {
      const int byte = i % (4 / kRuns) * kRuns;
      out[i] = out[i / (4 / kRuns) * (4 / kRuns)] >> 8 * byte;
    }
  }
}

// second[..] of the tile that a lane's row belongs to, for vector i of rows. second: 4 values of each tile.
inline __attribute__((always_inline)) f32v of_tile(const float* second, int i, int beta2) {
  const int row = kLanes * i;
  if (kLanes <= beta2) return broadcast(second[4 * (row / beta2)]);
  float values[kLanes];
  for (int lane = 0; lane < kLanes; ++lane) values[lane] = second[4 * ((row + lane) / beta2)];
  return load<f32v>(values);
}

// out = scale (code - zero) for 64 rows; second: [scale, zero, .., ..] of each `beta2` rows.
template <int kBits>
inline void decode_rows(const std::byte* planes, const float* second, int beta2, float* out) {
  u32v codes[kRowVectors];
  statistic_codes<kBits>(planes, codes);
  for (int i = 0; i < kRowVectors; ++i) {
    const f32v values = to_f32(codes[i] & ((1U << kBits) - 1));
    store(out + kLanes * i, of_tile(second, i, beta2) * (values - of_tile(second + 1, i, beta2)));
  }
}

inline void decode_rows(const std::byte* planes, int bits, const float* second, int beta2, float* out) {
  using Function = void (*)(const std::byte*, const float*, int, float*);
  constexpr Function kByBits[] = {decode_rows<2>, decode_rows<3>, decode_rows<4>, decode_rows<5>,
                                  decode_rows<6>, decode_rows<7>, decode_rows<8>};
  kByBits[bits - 2](planes, second, beta2, out);
}

// The same of the presets' statistics, 3 bits, whose 8 values for each tile are looked up.
constexpr int kTableBits = 3;

inline f32v table_codes() {
  f32v codes{};
  for (int i = 0; i < kLanes; ++i) codes[i] = static_cast<float>(i % 8);
  return codes;
}

inline u32v table_starts() {
  u32v starts{};
  for (int i = 0; i < kLanes; ++i) starts[i] = i / 8 * 8;
  return starts;
}

template <int kBeta2>
inline __attribute__((always_inline)) void look_up_rows(const std::byte* planes, const float* second,
                                                        float* out) {
  constexpr int kTableRows = std::max(kLanes, kBeta2);  // that have a table in common
  u32v codes[kRowVectors];
  statistic_codes<kTableBits>(planes, codes);
  f32v table{};
#pragma GCC unroll 8
  for (int i = 0; i < kRowVectors; ++i) {
    if (kLanes * i % kTableRows == 0)
      table = of_tile(second, i, kBeta2) * (table_codes() - of_tile(second + 1, i, kBeta2));
    // Where a vector is of one tile, each 8 lanes of the table are the same: more bits of the code do no
    // harm.
    const u32v index = kLanes > kBeta2 ? (codes[i] & 7U) | table_starts() : codes[i];
    store(out + kLanes * i, look_up(table, index));
  }
}

// Calls visit(i, its statistics as stored) for the groups of a block. They are prefetched as codes are:
// nothing of the stream may come late.
template <typename Visit>
inline __attribute__((always_inline)) void for_each_group(const Block& block, Visit visit) {
  const std::byte* group = block.statistics;
  const std::int64_t groups = block.groups();
  for (std::int64_t i = 0; i < groups; ++i, group += block.group_bytes) {
    prefetch(group, block.group_bytes);
    visit(i, group);
  }
}

// [ss sz zs zz] of each tile of the groups of a block, a strip of 64 rows high.
struct SecondLevels {
  alignas(64) float of[BlockStatistics::kMaxGroups][4 * kRows / 8];

  SecondLevels(const SpqrMatrix& w, const Block& block, int beta2) {
    const int halves = 4 * static_cast<int>(kRows) / beta2;
    const f32x8 factors{w.factor, 1, 1, 1, w.factor, 1, 1, 1};
    const std::byte* group = block.statistics;
    const std::int64_t groups = block.groups();
    for (std::int64_t g = 0; g < groups; ++g, group += block.group_bytes) {
      // Reads past the four halves of beta2 = 64, into the codes.
      for (int i = 0; i < halves; i += 8) store(of[g] + i, factors * load_f16(group + 2 * i));
    }
    // From memory single values are broadcast for nothing; from registers, where GCC would keep them, not.
    asm("" : "+m"(of));
  }
};

inline void decode_groups(const SpqrMatrix& w, const SpqrLayout& layout, const Block& block,
                          BlockStatistics& out) {
  const SpqrFormat& format = w.format;
  const SecondLevels second(w, block, format.beta2);
  for_each_group(block, [&](std::int64_t i, const std::byte* group) {
    decode_rows(group + layout.scale_codes_offset(kRows), format.scale_bits, second.of[i], format.beta2,
                out.scale[i]);
    decode_rows(group + layout.zero_codes_offset(kRows), format.zero_bits, second.of[i] + 2, format.beta2,
                out.zero[i]);
  });
}

template <int kBeta2>
void look_up_groups(const SpqrMatrix& w, const Block& block, BlockStatistics& out) {
  constexpr std::int64_t kScales = 8 * kRows / kBeta2;
  constexpr std::int64_t kZeros = kScales + plane_bytes(kRows, kTableBits);
  const SecondLevels second(w, block, kBeta2);
  for_each_group(block, [&](std::int64_t i, const std::byte* group) {
    look_up_rows<kBeta2>(group + kScales, second.of[i], out.scale[i]);
    look_up_rows<kBeta2>(group + kZeros, second.of[i] + 2, out.zero[i]);
  });
}

inline void look_up_groups(const SpqrMatrix& w, const Block& block, BlockStatistics& out) {
  switch (w.format.beta2) {
    case 8:
      return look_up_groups<8>(w, block, out);
    case 16:
      return look_up_groups<16>(w, block, out);
    case 32:
      return look_up_groups<32>(w, block, out);
    default:
      return look_up_groups<64>(w, block, out);
  }
}

inline void decode_unquantized_group(const SpqrMatrix& w, const std::byte* group, std::int64_t height,
                                     float* scale, float* zero) {
  const std::byte* zeros = group + SpqrLayout::unquantized_zeros_offset(height);
  std::int64_t row = 0;
  for (; row + 8 <= height; row += 8) {
    store(scale + row, w.factor * load_f16(group + 2 * row));
    store(zero + row, load_f16(zeros + 2 * row));
  }
  for (; row < height; ++row) {
    scale[row] = w.factor * read_f16(group + 2 * row);
    zero[row] = read_f16(zeros + 2 * row);
  }
}

inline void decode_ragged_group(const SpqrMatrix& w, const SpqrLayout& layout, const std::byte* group,
                                std::int64_t height, float* scale, float* zero) {
  const SpqrFormat& format = w.format;
  for (std::int64_t row = 0; row < height; ++row) {
    const std::byte* tile = group + 8 * (row / format.beta2);
    const int s = read_code(group + layout.scale_codes_offset(height), height, format.scale_bits, row);
    const int z = read_code(group + layout.zero_codes_offset(height), height, format.zero_bits, row);
    scale[row] = w.factor * read_f16(tile) * (static_cast<float>(s) - read_f16(tile + 2));
    zero[row] = read_f16(tile + 4) * (static_cast<float>(z) - read_f16(tile + 6));
  }
}

inline void decode_statistics(const SpqrMatrix& w, const SpqrLayout& layout, const Block& block,
                              BlockStatistics& out) {
  const SpqrFormat& format = w.format;
  if (block.height == kRows && format.quantized_statistics()) {
    const bool tables = format.scale_bits == kTableBits && format.zero_bits == kTableBits;
    return tables ? look_up_groups(w, block, out) : decode_groups(w, layout, block, out);
  }
  if (block.height < kRows) {
    const auto groups = static_cast<std::size_t>(block.groups());
    std::memset(out.scale, 0, sizeof(out.scale[0]) * groups);
    std::memset(out.zero, 0, sizeof(out.zero[0]) * groups);
  }
  for_each_group(block, [&](std::int64_t i, const std::byte* group) {
    if (format.quantized_statistics()) {
      decode_ragged_group(w, layout, group, block.height, out.scale[i], out.zero[i]);
    } else {
      decode_unquantized_group(w, group, block.height, out.scale[i], out.zero[i]);
    }
  });
}

}  // namespace
}  // namespace spqr
