// Products in bf16 for AVX-512 F, BW, DQ, VL, VNNI and BF16; compiled with these.
#define SPQR_LANES 16
#include <bit>
#include <vector>

#include "kernels/cpu/spqr_strip_x86.h"

// What that defines is used by
#include "kernels/cpu/bf16_kernels.h"
#include "kernels/cpu/panel_product.h"
#include "kernels/cpu/spqr_strip_statistics.h"

namespace spqr {
namespace {

constexpr std::int64_t kPanelRows = cpu::kPanelCols;
static_assert(kPanelRows == kLanes);

// Rounded to the nearest: left in the lower half of each lane, right in the upper one.
inline u32v bf16_pairs(f32v left, f32v right) {
  u32v order;
  for (std::uint32_t i = 0; i < kLanes; ++i) order[i] = i | (i + kLanes) << 16;
  const auto halves = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(right, left));
  return reinterpret_cast<u32v>(
      _mm512_maskz_permutexvar_epi16(~__mmask32{0}, reinterpret_cast<__m512i>(order), halves));
}

void narrow(const float* x, std::int64_t columns, std::uint32_t* out) {
  std::int64_t j = 0;
  for (; j + 2 * kLanes <= columns; j += 2 * kLanes)
    store(out + j / 2, _mm512_cvtne2ps_pbh(load<f32v>(x + j + kLanes), load<f32v>(x + j)));
  for (; j < columns; j += 2) {
    const std::uint32_t right = j + 1 < columns ? f32_to_bf16(x[j + 1]) : 0U;
    out[j / 2] = f32_to_bf16(x[j]) | right << 16;
  }
  std::copy_n(out, Bf16Kernels::refined_pairs(columns), out + Bf16Kernels::plain_pairs(columns));
}

// The panels of a strip on their way, and the first columns in f32.
struct Panels {
  std::uint32_t* data;
  std::int64_t stride;  // from one panel to the next
  alignas(64) float refined[Bf16Kernels::kRefined][kRows];
};

// One unit of a block, for the rows of vector i: four pairs of each row.
inline void pack_unit(const CodePair& codes, f32v scale, f32v zero, std::uint32_t* panel, float* refined) {
#pragma GCC unroll 2
  for (int quad = 0; quad < 2; ++quad) {
    const u32v bytes = quad == 0 ? codes.left : codes.right;
    f32v w[4];
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) w[j] = scale * (to_f32(bytes >> 8 * j & 0xFFU) - zero);
    store(panel + 2 * quad * kPanelRows, bf16_pairs(w[0], w[1]));
    store(panel + (2 * quad + 1) * kPanelRows, bf16_pairs(w[2], w[3]));
    if (__builtin_expect(refined == nullptr, 1)) continue;
    for (int j = 0; j < 4; ++j) store(refined + (4 * quad + j) * kRows, w[j]);
  }
}

// The units of a block.   panels: at the block's first pair, `stride` apart
template <int kBits>
inline void pack_block(const Block& block, const std::byte* codes, const BlockStatistics& statistics,
                       std::uint32_t* panels, std::int64_t stride, Panels& strip) {
  std::int64_t group = 0;
  for (std::int64_t first = 0; first < block.columns; first += block.group_columns, ++group) {
    const std::int64_t end = std::min(first + block.group_columns, block.columns);
    for (std::int64_t column = first; column < end; column += kColumns, codes += unit_bytes<kBits>()) {
      if constexpr (kBits != 0) prefetch(codes, unit_bytes<kBits>());
      const bool is_refined = block.index == 0 && column < Bf16Kernels::kRefined;
      std::uint32_t* pairs = panels + column / 2 * kPanelRows;
#pragma GCC unroll 4
      for (int i = 0; i < kRowVectors; ++i, pairs += stride) {
        const auto scale = load<f32v>(statistics.scale[group] + kLanes * i);
        const auto zero = load<f32v>(statistics.zero[group] + kLanes * i);
        pack_unit(code_pair<kBits>(codes, i), scale, zero, pairs,
                  is_refined ? strip.refined[column] + kLanes * i : nullptr);
      }
    }
  }
}

// A block that is not full: whole units would reach beyond the panels.
void pack_ragged_block(const Block& block, int bits, const BlockStatistics& statistics, std::uint32_t* panels,
                       Panels& strip) {
  constexpr std::int64_t kStride = kPanelRows * kBlockColumns / 2;
  ExpandedCodes expanded;
  expand_ragged_block(block, bits, expanded);
  std::vector<std::uint32_t> whole(static_cast<std::size_t>(kRowVectors * kStride));
  pack_block<0>(block, expanded.bytes, statistics, whole.data(), kStride, strip);
  const std::int64_t pairs = Bf16Kernels::plain_pairs(block.columns);
  for (std::int64_t panel = 0; panel < kRowVectors; ++panel) {
    std::uint32_t* out = panels + panel * strip.stride;
    std::copy_n(whole.data() + panel * kStride, pairs * kPanelRows, out);
    if (block.columns % 2 == 0) continue;
    for (std::int64_t row = 0; row < kPanelRows; ++row) out[(pairs - 1) * kPanelRows + row] &= 0xFFFFU;
  }
}

template <int kBits>
void pack_blocks(const SpqrMatrix& w, const SpqrLayout& layout, std::int64_t strip, Panels& panels) {
  BlockStatistics statistics;
  for_each_block(w, layout, strip, [&](const Block& block) {
    decode_statistics(w, layout, block, statistics);
    std::uint32_t* at = panels.data + block.index * kBlockColumns / 2 * kPanelRows;
    if (block.height == kRows && block.columns % kColumns == 0) {
      pack_block<kBits>(block, block.codes, statistics, at, panels.stride, panels);
    } else {
      pack_ragged_block(block, kBits, statistics, at, panels);
    }
  });
}

// Adds the outliers to what is there.
void add_outliers(const SpqrMatrix& w, const SpqrLayout& layout, std::int64_t strip, Panels& panels) {
  if (w.row_offsets.empty()) return;
  const std::uint32_t* offsets = w.row_offsets.data() + strip * kRows;
  for (std::int64_t row = 0; row < layout.strip_height(strip); ++row) {
    std::uint32_t* of_row = panels.data + row / kPanelRows * panels.stride + row % kPanelRows;
    for (std::uint32_t i = offsets[row]; i < offsets[row + 1]; ++i) {
      const std::uint32_t column = w.col_vals[i] & 0xFFFFU;
      const float value = _cvtsh_ss(static_cast<std::uint16_t>(w.col_vals[i] >> 16));
      if (column < Bf16Kernels::kRefined) panels.refined[column][row] += value;
      auto* half = reinterpret_cast<std::byte*>(of_row + column / 2 * kPanelRows) + 2 * (column % 2);
      const float sum = bf16_to_f32(load<std::uint16_t>(half)) + value;
      store(half, static_cast<std::uint16_t>(_mm_cvtneps_pbh(_mm_set_ss(sum))[0]));
    }
  }
}

// The refined columns, and what rounding leaves of them.
void store_refined(std::int64_t n, const Panels& panels) {
  for (std::int64_t pair = 0; pair < Bf16Kernels::refined_pairs(n); ++pair) {
    std::uint32_t* out = panels.data + pair * kPanelRows;
    for (std::int64_t row = 0; row < kRows; row += kPanelRows, out += panels.stride) {
      const auto left = load<f32v>(panels.refined[2 * pair] + row);
      const auto right = load<f32v>(panels.refined[2 * pair + 1] + row);
      const u32v rounded = bf16_pairs(left, right);
      store(out, rounded);
      store(out + Bf16Kernels::plain_pairs(n) * kPanelRows,
            bf16_pairs(left - std::bit_cast<f32v>(rounded << 16),
                       right - std::bit_cast<f32v>(rounded & 0xFFFF0000U)));
    }
  }
}

void pack_strip(const SpqrMatrix& w, const SpqrLayout& layout, std::int64_t strip, std::uint32_t* out) {
  using Function = void (*)(const SpqrMatrix&, const SpqrLayout&, std::int64_t, Panels&);
  static constexpr Function kByBits[] = {pack_blocks<2>, pack_blocks<3>, pack_blocks<4>, pack_blocks<5>,
                                         pack_blocks<6>, pack_blocks<7>, pack_blocks<8>};
  Panels panels;
  panels.data = out;
  panels.stride = kPanelRows * Bf16Kernels::pairs(w.n);
  kByBits[w.format.bits - 2](w, layout, strip, panels);
  add_outliers(w, layout, strip, panels);
  store_refined(w.n, panels);
}

void multiply_panels(const cpu::PanelProduct& product) {
  cpu::multiply_all_panels(product, [](f32v sum, const float* a, f32v b) {
    const u32v pair = broadcast(load<std::uint32_t>(a));
    return f32v(_mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(pair), reinterpret_cast<__m512bh>(b)));
  });
}

}  // namespace

const Bf16Kernels kBf16Avx512{16, narrow, pack_strip, multiply_panels};

}  // namespace spqr
