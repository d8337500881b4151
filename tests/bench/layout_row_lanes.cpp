#include <immintrin.h>

#include <cmath>
#include <memory>

#include "kernels/cpu/spqr_matvec.h"
#include "tests/bench/layout_candidates.h"
#include "tests/bench/layout_vectors.h"

namespace spqr {

Int8Input::Int8Input(const float* x, std::int64_t n) : codes(n), scales(n / 16), sums(n / 16) {
  for (std::int64_t group = 0; group < n / 16; ++group) {
    float largest = 1e-30F;
    for (int i = 0; i < 16; ++i) largest = std::max(largest, std::abs(x[16 * group + i]));
    scales[group] = largest / 127;
    for (int i = 0; i < 16; ++i) {
      const auto code = static_cast<std::int8_t>(std::lround(x[16 * group + i] / scales[group]));
      codes[16 * group + i] = code;
      sums[group] += scales[group] * static_cast<float>(code);
    }
  }
}

std::vector<float> group_sums(const float* x, std::int64_t n) {
  std::vector<float> sums(static_cast<std::size_t>(n / 16));
  for (std::int64_t j = 0; j < n; ++j) sums[j / 16] += x[j];
  return sums;
}

namespace {

SpqrMatrix view(const SpqrFormat& format, std::int64_t m, std::int64_t n, float factor,
                const std::byte* packed) {
  return {format, m, n, factor, {packed, packed_bytes(format, m, n)}, {}, {}};
}

// One block with 8-bit x: 16-bit sums of a group's 16 columns hold for codes of up to 5 bits.
template <int kBits>
void add_block_int8(const Block& block, const Int8Input& x, float* rows) {
  const __m256i ones = _mm256_set1_epi16(1);
  const std::byte* codes = block.codes;
  for (std::int64_t group = 0; group < block.columns / 16; ++group, codes += 2 * 64 * kBits) {
    const std::int64_t index = block.first_column / 16 + group;
    __m256i sums[kRowVectors] = {};
#pragma GCC unroll 2
    for (int unit = 0; unit < 2; ++unit) {
#pragma GCC unroll 2
      for (int quad = 0; quad < 2; ++quad) {
        const auto four = load<std::int32_t>(x.codes.data() + 16 * index + 8 * unit + 4 * quad);
        const __m256i xs = _mm256_set1_epi32(four);
#pragma GCC unroll 8
        for (int i = 0; i < kRowVectors; ++i) {
          const auto q =
              reinterpret_cast<__m256i>(unit_codes<kBits>(codes + 64 * kBits * unit, kRowVectors * quad + i));
          sums[i] = _mm256_add_epi16(sums[i], _mm256_maddubs_epi16(q, xs));
        }
      }
    }
    const GroupStatistics& statistics = block.statistics[group];
    for (int i = 0; i < kRowVectors; ++i) {
      const f32x8 sum = _mm256_cvtepi32_ps(_mm256_madd_epi16(sums[i], ones));
      const f32x8 centred = sum * x.scales[index] - load<f32x8>(statistics.zero + kLanes * i) * x.sums[index];
      store(rows + kLanes * i,
            load<f32x8>(rows + kLanes * i) + load<f32x8>(statistics.scale + kLanes * i) * centred);
    }
  }
}

template <int kBits>
void matvec_int8(const SpqrMatrix& w, const float* x, float* y) {
  const SpqrLayout layout(w.format, w.m, w.n);
  const Int8Input input(x, w.n);
#pragma omp parallel for schedule(dynamic)
  for (std::int64_t strip = 0; strip < layout.strips(); ++strip) {
    alignas(32) float rows[kRows] = {};
    for_each_block(w, layout, strip, [&](const Block& block) { add_block_int8<kBits>(block, input, rows); });
    std::copy_n(rows, kRows, y + strip * kRows);
  }
}

}  // namespace

Candidate row_lanes_f32(const SpqrParts& parts) {
  const PackedMatrix packed = pack(parts);
  return {"row lanes, f32", packed.dense, 1e-5,
          [format = parts.format, m = parts.m, n = parts.n, factor = packed.factor](
              const std::byte* bytes, const float* x, float* y) {
            spqr_matvec(view(format, m, n, factor, bytes), x, y);
          }};
}

Candidate row_lanes_int8(const SpqrParts& parts) {
  Candidate candidate = row_lanes_f32(parts);
  candidate.name = "row lanes, int8";
  candidate.tolerance = 2e-2;
  candidate.matvec = [format = parts.format, m = parts.m, n = parts.n, factor = pack(parts).factor](
                         const std::byte* bytes, const float* x, float* y) {
    const SpqrMatrix w = view(format, m, n, factor, bytes);
    format.bits == 3 ? matvec_int8<3>(w, x, y) : matvec_int8<4>(w, x, y);
  };
  return candidate;
}

}  // namespace spqr
