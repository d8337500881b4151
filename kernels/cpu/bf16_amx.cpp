// Products in bf16 with AMX: a tile of 16 tokens by 32 columns of x times one of 32 columns by 16 rows of W
// in one instruction. Compiled with AMX-TILE and AMX-BF16. Panels (panels.h) of pairs lie as tiles of W are
// read.
#define SPQR_LANES 16
#include <immintrin.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "kernels/cpu/bf16_kernels.h"
#include "kernels/cpu/vectors.h"

namespace spqr {
namespace {

constexpr std::int64_t kTileRows = 16;   // tokens, or pairs of columns
constexpr std::int64_t kTilePairs = 16;  // in a row of 64 bytes
constexpr int kRowBytes = 64;
static_assert(kTilePairs == cpu::kPanelCols);

// Tiles 0 to 3 are sums, (tokens, rows of W) 2 x 2; 4 and 5 tokens; 6 and 7 panels.
class TileConfig {
 public:
  // For `tokens` of a tile, at most kTileRows.
  explicit TileConfig(std::int64_t tokens) {
    for (int tile = 0; tile < 8; ++tile) {
      row_bytes_[tile] = kRowBytes;
      rows_[tile] = static_cast<std::uint8_t>(tile < 6 ? tokens : kTileRows);
    }
    // GCC 12 knows of the first 8 bytes only that the next line reads them.
    asm volatile("" : : "r"(this) : "memory");
    _tile_loadconfig(this);
  }

 private:
  // As the processor reads it (Intel's manual, LDTILECFG).
  alignas(64) [[maybe_unused]] std::uint8_t palette_ = 1;
  [[maybe_unused]] std::uint8_t start_row_ = 0;
  [[maybe_unused]] std::uint8_t reserved_[14] = {};
  std::uint16_t row_bytes_[16] = {};
  std::uint8_t rows_[16] = {};
};
static_assert(sizeof(TileConfig) == 64);

// kTokenTiles by kPanels tiles of c (+)= a times panels.   stride_c in floats
template <int kTokenTiles, int kPanels>
inline void multiply_tiles(const cpu::PanelProduct& p, const float* a, const float* panel, float* c,
                           std::int64_t stride_c, bool add) {
  const auto stride_a = static_cast<std::size_t>(p.stride_a) * sizeof(float);
  const auto bytes_c = static_cast<std::size_t>(stride_c) * sizeof(float);
  float* lower = c + kTileRows * stride_c;
  if (add) {
    _tile_loadd(0, c, bytes_c);
    if constexpr (kPanels == 2) _tile_loadd(1, c + cpu::kPanelCols, bytes_c);
    if constexpr (kTokenTiles == 2) _tile_loadd(2, lower, bytes_c);
    if constexpr (kTokenTiles * kPanels == 4) _tile_loadd(3, lower + cpu::kPanelCols, bytes_c);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  for (std::int64_t k = 0; k < p.depth;
       k += kTilePairs, a += kTilePairs, panel += kTilePairs * cpu::kPanelCols) {
    _tile_loadd(6, panel, kRowBytes);
    _tile_loadd(4, a, stride_a);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (kPanels == 2) {
      _tile_loadd(7, panel + p.panel_stride, kRowBytes);
      _tile_dpbf16ps(1, 4, 7);
    }
    if constexpr (kTokenTiles == 2) {
      _tile_loadd(5, a + kTileRows * p.stride_a, stride_a);
      _tile_dpbf16ps(2, 5, 6);
    }
    if constexpr (kTokenTiles * kPanels == 4) _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(0, c, bytes_c);
  if constexpr (kPanels == 2) _tile_stored(1, c + cpu::kPanelCols, bytes_c);
  if constexpr (kTokenTiles == 2) _tile_stored(2, lower, bytes_c);
  if constexpr (kTokenTiles * kPanels == 4) _tile_stored(3, lower + cpu::kPanelCols, bytes_c);
}

// As many columns of c as count; whole tiles are read and written in c itself.
template <int kTokenTiles, int kPanels>
void multiply_block(const cpu::PanelProduct& p, std::int64_t token, std::int64_t tokens,
                    std::int64_t column) {
  constexpr std::int64_t kCols = kPanels * cpu::kPanelCols;
  const float* a = p.a + token * p.stride_a;
  const float* panel = p.panels + column / cpu::kPanelCols * p.panel_stride;
  float* c = p.c + token * p.stride_c + column;
  const std::int64_t cols = std::min(kCols, p.cols - column);
  if (cols == kCols) return multiply_tiles<kTokenTiles, kPanels>(p, a, panel, c, p.stride_c, p.add);
  alignas(64) float whole[kTokenTiles * kTileRows * kCols];
  multiply_tiles<kTokenTiles, kPanels>(p, a, panel, whole, kCols, false);
  for (std::int64_t t = 0; t < tokens; ++t) {
    for (std::int64_t i = 0; i < cols; ++i)
      c[t * p.stride_c + i] = (p.add ? c[t * p.stride_c + i] : 0.0F) + whole[t * kCols + i];
  }
}

template <int kTokenTiles>
void multiply_tokens(const cpu::PanelProduct& p, std::int64_t token, std::int64_t tokens,
                     std::int64_t column) {
  if (p.cols - column > cpu::kPanelCols) return multiply_block<kTokenTiles, 2>(p, token, tokens, column);
  multiply_block<kTokenTiles, 1>(p, token, tokens, column);
}

// Depth is whole tiles.
void multiply_whole_tiles(const cpu::PanelProduct& p) {
  constexpr std::int64_t kColumns = 2 * cpu::kPanelCols;
  const std::int64_t pairs = p.rows / (2 * kTileRows) * (2 * kTileRows);
  const std::int64_t whole = p.rows / kTileRows * kTileRows;
  if (whole > 0) {
    const TileConfig config(kTileRows);
    for (std::int64_t column = 0; column < p.cols; column += kColumns) {
      for (std::int64_t token = 0; token < pairs; token += 2 * kTileRows)
        multiply_tokens<2>(p, token, 2 * kTileRows, column);
      if (pairs < whole) multiply_tokens<1>(p, pairs, kTileRows, column);
    }
  }
  if (whole < p.rows) {
    const TileConfig config(p.rows - whole);
    for (std::int64_t column = 0; column < p.cols; column += kColumns)
      multiply_tokens<1>(p, whole, p.rows - whole, column);
  }
  _tile_release();
}

void multiply_panels(const cpu::PanelProduct& p) {
  cpu::PanelProduct tiles = p;
  tiles.depth = p.depth / kTilePairs * kTilePairs;
  if (tiles.depth > 0) multiply_whole_tiles(tiles);
  if (tiles.depth == p.depth) return;
  cpu::PanelProduct rest = p;
  rest.a += tiles.depth;
  rest.panels += tiles.depth * cpu::kPanelCols;
  rest.depth -= tiles.depth;
  rest.add = p.add || tiles.depth > 0;
  kBf16Avx512.multiply_panels(rest);
}

void narrow(const float* x, std::int64_t columns, std::uint32_t* out) {
  kBf16Avx512.narrow(x, columns, out);
}

void pack_strip(const SpqrMatrix& w, const SpqrLayout& layout, std::int64_t strip, std::uint32_t* panels) {
  kBf16Avx512.pack_strip(w, layout, strip, panels);
}

// Lanes of a vector that are columns, of `left` columns.
__mmask16 lanes_of(std::int64_t left) {
  return static_cast<__mmask16>((1U << std::clamp<std::int64_t>(left, 0, kLanes)) - 1);
}

void split(const float* x, std::int64_t columns, std::uint32_t* high, std::uint32_t* low) {
  struct Halves {
    u16v left, right;
  };
  for (std::int64_t j = 0; j < columns; j += 2 * kLanes) {
    const f32v left = _mm512_maskz_loadu_ps(lanes_of(columns - j), x + j);
    const f32v right = _mm512_maskz_loadu_ps(lanes_of(columns - j - kLanes), x + j + kLanes);
    const auto rounded = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(right, left));
    const auto halves = std::bit_cast<Halves>(rounded);
    const __m512bh rest =
        _mm512_cvtne2ps_pbh(right - widen_bf16(halves.right), left - widen_bf16(halves.left));
    const __mmask16 pairs = lanes_of(Bf16Kernels::plain_pairs(columns - j));
    _mm512_mask_storeu_epi32(high + j / 2, pairs, rounded);
    _mm512_mask_storeu_epi32(low + j / 2, pairs, reinterpret_cast<__m512i>(rest));
  }
}

std::int64_t peak(std::int64_t rounds) {
  const TileConfig config(kTileRows);
  for (std::int64_t round = 0; round < rounds; ++round) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_release();
  return rounds * 4 * kTileRows * cpu::kPanelCols * 2 * kTilePairs;
}

}  // namespace

const Bf16Kernels kBf16Amx{16, narrow, pack_strip, multiply_panels, split, peak};

}  // namespace spqr
