// Products in bf16 for AVX-512 F, BW, DQ, VL, VNNI and BF16; compiled with these.
#define SPQR_LANES 16
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
}

// One vector of codes, 16 rows and a quad of columns: two pairs of each row.
inline void store_quad(u32v codes, f32v scale, f32v zero, std::uint32_t* panel) {
  f32v w[4];
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) w[j] = scale * (to_f32(codes >> 8 * j & 0xFFU) - zero);
  store(panel, bf16_pairs(w[0], w[1]));
  store(panel + kPanelRows, bf16_pairs(w[2], w[3]));
}

// The units of a block.   panels: of the strip, `stride` apart, at the block's first pair
template <int kBits>
inline void pack_block(const Block& block, const std::byte* codes, const BlockStatistics& statistics,
                       std::uint32_t* panels, std::int64_t stride) {
  std::int64_t group = 0;
  for (std::int64_t first = 0; first < block.columns; first += block.group_columns, ++group) {
    const std::int64_t end = std::min(first + block.group_columns, block.columns);
    for (std::int64_t column = first; column < end; column += kColumns, codes += unit_bytes<kBits>()) {
      if constexpr (kBits != 0) prefetch(codes, unit_bytes<kBits>());
      std::uint32_t* pairs = panels + column / 2 * kPanelRows;
#pragma GCC unroll 4
      for (int i = 0; i < kRowVectors; ++i, pairs += stride) {
        const CodePair unit = code_pair<kBits>(codes, i);
        const auto scale = load<f32v>(statistics.scale[group] + kLanes * i);
        const auto zero = load<f32v>(statistics.zero[group] + kLanes * i);
        store_quad(unit.left, scale, zero, pairs);
        store_quad(unit.right, scale, zero, pairs + 2 * kPanelRows);
      }
    }
  }
}

template <int kBits>
void pack_blocks(const SpqrMatrix& w, const SpqrLayout& layout, std::int64_t strip, std::uint32_t* panels) {
  const std::int64_t stride = kPanelRows * Bf16Kernels::pairs(w.n);
  BlockStatistics statistics;
  for_each_block(w, layout, strip, [&](const Block& block) {
    decode_statistics(w, layout, block, statistics);
    std::uint32_t* at = panels + block.index * kBlockColumns / 2 * kPanelRows;
    if (block.height == kRows && block.columns % kColumns == 0)
      return pack_block<kBits>(block, block.codes, statistics, at, stride);
    // Whole units would reach beyond the panels.
    ExpandedCodes expanded;
    expand_ragged_block(block, kBits, expanded);
    std::vector<std::uint32_t> whole(static_cast<std::size_t>(kRows * kBlockColumns / 2));
    pack_block<0>(block, expanded.bytes, statistics, whole.data(), kPanelRows * kBlockColumns / 2);
    const std::int64_t pairs = Bf16Kernels::pairs(block.columns);
    for (std::int64_t panel = 0; panel < kRowVectors; ++panel)
      std::copy_n(whole.data() + panel * kPanelRows * kBlockColumns / 2, pairs * kPanelRows,
                  at + panel * stride);
    if (block.columns % 2 == 0) return;
    for (std::int64_t panel = 0; panel < kRowVectors; ++panel) {
      for (std::int64_t row = 0; row < kPanelRows; ++row)
        at[panel * stride + (pairs - 1) * kPanelRows + row] &= 0xFFFFU;
    }
  });
}

// Adds the outliers to what is in the panels.
void add_outliers(const SpqrMatrix& w, const SpqrLayout& layout, std::int64_t strip, std::uint32_t* panels) {
  if (w.row_offsets.empty()) return;
  const std::int64_t stride = kPanelRows * Bf16Kernels::pairs(w.n);
  const std::uint32_t* offsets = w.row_offsets.data() + strip * kRows;
  for (std::int64_t row = 0; row < layout.strip_height(strip); ++row) {
    std::uint32_t* of_row = panels + row / kPanelRows * stride + row % kPanelRows;
    for (std::uint32_t i = offsets[row]; i < offsets[row + 1]; ++i) {
      const std::uint32_t column = w.col_vals[i] & 0xFFFFU;
      const float value = _cvtsh_ss(static_cast<std::uint16_t>(w.col_vals[i] >> 16));
      auto* half = reinterpret_cast<std::uint16_t*>(of_row + column / 2 * kPanelRows) + column % 2;
      *half = static_cast<std::uint16_t>(_mm_cvtneps_pbh(_mm_set_ss(bf16_to_f32(*half) + value))[0]);
    }
  }
}

void pack_strip(const SpqrMatrix& w, const SpqrLayout& layout, std::int64_t strip, std::uint32_t* panels) {
  using Function = void (*)(const SpqrMatrix&, const SpqrLayout&, std::int64_t, std::uint32_t*);
  static constexpr Function kByBits[] = {pack_blocks<2>, pack_blocks<3>, pack_blocks<4>, pack_blocks<5>,
                                         pack_blocks<6>, pack_blocks<7>, pack_blocks<8>};
  kByBits[w.format.bits - 2](w, layout, strip, panels);
  add_outliers(w, layout, strip, panels);
}

void multiply_panels(const cpu::PanelProduct& product) {
  cpu::multiply_all_panels(product, [](f32v sum, const float* a, f32v b) {
    const u32v pair = broadcast(load<std::uint32_t>(a));
    return f32v(_mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(pair), reinterpret_cast<__m512bh>(b)));
  });
}

}  // namespace

const Bf16Kernels kBf16Avx512{12, narrow, pack_strip, multiply_panels};

}  // namespace spqr
