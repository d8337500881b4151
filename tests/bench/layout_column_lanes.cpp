#include <cstring>

#include "kernels/threads.h"
#include "tests/bench/layout_candidates.h"
#include "tests/bench/layout_vectors.h"

namespace spqr {
namespace {

constexpr std::int64_t kChunk = 256;
constexpr std::int64_t kGroups = kChunk / 16;

// Place of a column among 32: a lane's bytes are 8 columns apart (f32: a lane is a column), or in order
// (int8: a lane is four columns of one group).
std::int64_t byte_of(std::int64_t column, bool in_order) {
  return in_order ? column : column % 8 * 4 + column / 8;
}

// The strips' statistics are taken from the layout in use; codes of each row follow them.
struct Geometry {
  SpqrMatrix w;  // dense: unused
  SpqrLayout layout;
  std::int64_t statistics;  // bytes of a chunk
  std::int64_t chunk;

  explicit Geometry(const SpqrMatrix& matrix)
      : w(matrix),
        layout(matrix.format, matrix.m, matrix.n),
        statistics(kGroups * layout.group_bytes(kRows)),
        chunk(statistics + kRows * kChunk / 8 * matrix.format.bits) {}
};

std::vector<std::byte> pack_columns(const Geometry& g, const SpqrParts& parts, const PackedMatrix& in_use,
                                    bool in_order) {
  const std::int64_t chunks = parts.n / kChunk;
  std::vector<std::byte> out(static_cast<std::size_t>(parts.m / kRows * chunks * g.chunk));
  std::byte* next = out.data();
  for (std::int64_t strip = 0; strip < parts.m / kRows; ++strip) {
    for (std::int64_t chunk = 0; chunk < chunks; ++chunk) {
      std::memcpy(
          next,
          in_use.dense.data() + g.layout.strip_offset(strip) + g.layout.group_offset(kRows, chunk * kGroups),
          static_cast<std::size_t>(g.statistics));
      next += g.statistics;
      for (std::int64_t row = strip * kRows; row < (strip + 1) * kRows; ++row) {
        std::uint8_t codes[kChunk];
        for (std::int64_t j = 0; j < kChunk; ++j) {
          codes[j / 32 * 32 + byte_of(j % 32, in_order)] = parts.codes[row * parts.n + chunk * kChunk + j];
        }
        pack_planes(codes, kChunk, parts.format.bits, next);
        next += kChunk / 8 * parts.format.bits;
      }
    }
  }
  return out;
}

// 32 of a row's 256 codes. index is known when compiled.
template <int kBits, int kLow = 0>
inline __attribute__((always_inline)) u32x8 row_codes(const std::byte* row, int index) {
  constexpr int kWidth = plane_width(kBits, kLow);
  constexpr std::uint32_t kMask = ((1U << kWidth) - 1) * 0x01010101U << kLow;
  const int shift = kWidth * (index / kWidth) - kLow;
  u32x8 codes = load<u32x8>(row + 32 * kLow + 32 * (index % kWidth));
  codes = (shift >= 0 ? codes >> shift : codes << -shift) & kMask;
  if constexpr (kLow + kWidth < kBits) codes |= row_codes<kBits, kLow + kWidth>(row, index);
  return codes;
}

template <int kBits>
inline f32x8 dot_f32(const std::byte* row, const float* x, const float* scales) {
  f32x8 sum{};
#pragma GCC unroll 8
  for (int i = 0; i < kChunk / 32; ++i, x += 32) {
    const u32x8 codes = row_codes<kBits>(row, i);
    const f32x8 left =
        to_f32(codes & 0xFFU) * load<f32x8>(x) + to_f32(codes >> 8 & 0xFFU) * load<f32x8>(x + 8);
    const f32x8 right =
        to_f32(codes >> 16 & 0xFFU) * load<f32x8>(x + 16) + to_f32(codes >> 24) * load<f32x8>(x + 24);
    sum += left * scales[kRows * 2 * i];
    sum += right * scales[kRows * (2 * i + 1)];
  }
  return sum;
}

template <int kBits>
inline f32x8 dot_int8(const std::byte* row, const std::int8_t* x, const float* scales) {
  f32x8 sum{};
#pragma GCC unroll 8
  for (int i = 0; i < kChunk / 32; ++i, x += 32) {
    const auto codes = reinterpret_cast<__m256i>(row_codes<kBits>(row, i));
    const __m256i pairs = _mm256_maddubs_epi16(codes, load<__m256i>(x));
    const __m256i quads = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
    const __m128 left = _mm_set1_ps(scales[kRows * 2 * i]);
    const __m128 right = _mm_set1_ps(scales[kRows * (2 * i + 1)]);
    sum += _mm256_cvtepi32_ps(quads) * _mm256_set_m128(right, left);
  }
  return sum;
}

// dot(row's codes of the chunk, its scales) adds to the row's 8 partial sums; zero points are applied with
// rows as lanes.
template <typename Dot>
void matvec_columns(const Geometry& g, const std::byte* packed, const float* sums, const float* input_scales,
                    Dot dot, float* y) {
  const std::int64_t chunks = g.w.n / kChunk;
  parallel_for(g.layout.strips(), [&](std::int64_t strip) {
    const std::byte* next = packed + strip * chunks * g.chunk;
    f32x8 partial[kRows] = {};
    alignas(32) float rows[kRows] = {};
    alignas(32) float scales[kGroups * kRows];
    BlockStatistics statistics;
    for (std::int64_t chunk = 0; chunk < chunks; ++chunk) {
      decode_statistics(g.w, g.layout,
                        {kRows, chunk, kChunk, kChunk / kGroups, g.layout.group_bytes(kRows), next, {}},
                        statistics);
      for (std::int64_t group = 0; group < kGroups; ++group) {
        const std::int64_t at = chunk * kGroups + group;
        for (int i = 0; i < kRows; i += kLanes) {
          const f32x8 scale = load<f32x8>(statistics.scale[group] + i);
          store(rows + i, load<f32x8>(rows + i) - scale * load<f32x8>(statistics.zero[group] + i) * sums[at]);
          store(scales + kRows * group + i, input_scales == nullptr ? scale : scale * input_scales[at]);
        }
      }
      next += g.statistics;
      for (std::int64_t row = 0; row < kRows; ++row, next += kChunk / 8 * g.w.format.bits) {
        partial[row] += dot(next, chunk, scales + row);
      }
    }
    for (std::int64_t row = 0; row < kRows; ++row)
      y[strip * kRows + row] = rows[row] + sum_of_lanes(partial[row]);
  });
}

template <int kBits>
void matvec_f32(const Geometry& g, const std::byte* packed, const float* x, float* y) {
  const std::vector<float> sums = group_sums(x, g.w.n);
  const auto dot = [&](const std::byte* row, std::int64_t chunk, const float* scales) {
    return dot_f32<kBits>(row, x + chunk * kChunk, scales);
  };
  matvec_columns(g, packed, sums.data(), nullptr, dot, y);
}

template <int kBits>
void matvec_int8(const Geometry& g, const std::byte* packed, const float* x, float* y) {
  const Int8Input input(x, g.w.n);
  const auto dot = [&](const std::byte* row, std::int64_t chunk, const float* scales) {
    return dot_int8<kBits>(row, input.codes.data() + chunk * kChunk, scales);
  };
  matvec_columns(g, packed, input.sums.data(), input.scales.data(), dot, y);
}

}  // namespace

Candidate column_lanes_f32(const SpqrParts& parts) {
  const PackedMatrix in_use = pack(parts);
  const Geometry g(SpqrMatrix{parts.format, parts.m, parts.n, in_use.factor, {}, {}, {}});
  return {"column lanes, f32", pack_columns(g, parts, in_use, false), 1e-5,
          [g](const std::byte* packed, const float* x, float* y) {
            g.w.format.bits == 3 ? matvec_f32<3>(g, packed, x, y) : matvec_f32<4>(g, packed, x, y);
          }};
}

Candidate column_lanes_int8(const SpqrParts& parts) {
  const PackedMatrix in_use = pack(parts);
  const Geometry g(SpqrMatrix{parts.format, parts.m, parts.n, in_use.factor, {}, {}, {}});
  return {"column lanes, int8", pack_columns(g, parts, in_use, true), 2e-2,
          [g](const std::byte* packed, const float* x, float* y) {
            g.w.format.bits == 3 ? matvec_int8<3>(g, packed, x, y) : matvec_int8<4>(g, packed, x, y);
          }};
}

}  // namespace spqr
