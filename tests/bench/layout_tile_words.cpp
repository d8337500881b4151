#include <cstring>

#include "kernels/half.h"
#include "kernels/threads.h"
#include "tests/bench/layout_candidates.h"
#include "tests/bench/layout_vectors.h"

namespace spqr {
namespace {

constexpr std::int64_t kTile = 16;
constexpr std::int64_t kTiles = 16;  // decoded together

// Row r of a tile: bits 0-2 scale code, 3-5 zero code, 6-53 weight codes, 54-61 byte r / 2 of ss, sz, zs, zz.
std::vector<std::byte> pack_words(const SpqrParts& parts) {
  std::vector<std::uint64_t> words;
  words.reserve(static_cast<std::size_t>(parts.m * parts.n / kTile));
  for (std::int64_t tile = 0; tile < parts.m / kTile; ++tile) {
    for (std::int64_t group = 0; group < parts.n / kTile; ++group) {
      const std::int64_t second = group * parts.m / kTile + tile;
      const std::uint16_t halves[] = {
          f32_to_f16(parts.scale_scale[second]), f32_to_f16(parts.scale_zero[second]),
          f32_to_f16(parts.zero_scale[second]), f32_to_f16(parts.zero_zero[second])};
      const auto statistics = load<std::uint64_t>(halves);
      for (std::int64_t row = tile * kTile; row < (tile + 1) * kTile; ++row) {
        std::uint64_t word =
            parts.scale_codes[group * parts.m + row] | parts.zero_codes[group * parts.m + row] << 3;
        for (std::int64_t j = 0; j < kTile; ++j) {
          word |= static_cast<std::uint64_t>(parts.codes[row * parts.n + group * kTile + j]) << (6 + 3 * j);
        }
        words.push_back(word | (statistics >> (row % kTile / 2 * 8) & 0xFFU) << 54);
      }
    }
  }
  std::vector<std::byte> bytes(words.size() * 8);
  std::memcpy(bytes.data(), words.data(), bytes.size());
  return bytes;
}

// scales, rows of one tile; rows -= s z sum.
inline void decode_tile(const std::byte* tile, float sum, float* scales, float* rows) {
  std::uint64_t statistics = 0;
  for (int i = 0; i < 8; ++i) statistics |= (load<std::uint64_t>(tile + 16 * i) >> 54 & 0xFFU) << (8 * i);
  alignas(32) float second[4];
  for (int i = 0; i < 4; ++i)
    second[i] = f16_to_f32(static_cast<std::uint16_t>(statistics >> (16 * i) & 0xFFFFU));
  for (int half = 0; half < 2; ++half) {
    const auto first = load<u32x8>(tile + 64 * half);
    const auto last = load<u32x8>(tile + 64 * half + 32);
    const u32x8 low = __builtin_shufflevector(first, last, 0, 2, 4, 6, 8, 10, 12, 14);
    const f32x8 scale = second[0] * (to_f32(low & 7U) - second[1]);
    const f32x8 zero = second[2] * (to_f32(low >> 3 & 7U) - second[3]);
    store(scales + kLanes * half, scale);
    store(rows + kLanes * half, load<f32x8>(rows + kLanes * half) - scale * zero * sum);
  }
}

void matvec_words(std::int64_t m, std::int64_t n, const std::byte* packed, const float* x, float* y) {
  const std::vector<float> sums = group_sums(x, n);
  const u32x8 shifts{6, 9, 12, 15, 18, 21, 24, 27};
  parallel_for(m / kTile, [&](std::int64_t strip) {
    const std::byte* tiles = packed + strip * n * 8;
    f32x8 partial[kTile] = {};
    alignas(32) float rows[kTile] = {};
    alignas(32) float scales[kTiles * kTile];
    for (std::int64_t group = 0; group < n / kTile; group += kTiles, tiles += kTiles * kTile * 8) {
      for (std::int64_t i = 0; i < kTiles; ++i) {
        decode_tile(tiles + i * kTile * 8, sums[group + i], scales + i * kTile, rows);
      }
      for (std::int64_t row = 0; row < kTile; ++row) {
        f32x8 sum = partial[row];
#pragma GCC unroll 4
        for (std::int64_t i = 0; i < kTiles; ++i) {
          // The second half of the codes begins at bit 30: bit 6 of the word's bytes 3 to 6.
          const std::byte* word = tiles + (i * kTile + row) * 8;
          const u32x8 left = u32x8{} + load<std::uint32_t>(word);
          const u32x8 right = u32x8{} + load<std::uint32_t>(word + 3);
          const float* xs = x + (group + i) * kTile;
          sum += (to_f32(left >> shifts & 7U) * load<f32x8>(xs) +
                  to_f32(right >> shifts & 7U) * load<f32x8>(xs + 8)) *
                 scales[i * kTile + row];
        }
        partial[row] = sum;
      }
    }
    for (std::int64_t row = 0; row < kTile; ++row)
      y[strip * kTile + row] = rows[row] + sum_of_lanes(partial[row]);
  });
}

}  // namespace

Candidate tile_words_f32(const SpqrParts& parts) {
  return {"tile words, f32", pack_words(parts), 1e-5,
          [m = parts.m, n = parts.n](const std::byte* packed, const float* x, float* y) {
            matvec_words(m, n, packed, x, y);
          }};
}

}  // namespace spqr
