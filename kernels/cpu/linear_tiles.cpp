// Products with many tokens: tiles of kTileRows rows of W, widened and cut into panels once, times
// kTileTokens tokens. Compute-bound. In f32, or for packed weights in pairs of bf16 (bf16_kernels.h).
#include <algorithm>

#include "kernels/cpu/operations.h"
#include "kernels/threads.h"

namespace spqr::cpu {
namespace {

constexpr std::int64_t kTileRows = 384;
constexpr std::int64_t kTileRowsBf16 =
    128;  // products are fast: few rows, so that few tokens share them well
constexpr std::int64_t kTileTokens = 192;
// Products summed in registers: a panel of so many rows stays in the first cache, so much of a tile's inputs
// in the second.
constexpr std::int64_t kDepth = 256;
constexpr std::int64_t kDepthUnit = 16;
static_assert(kDepth % kDepthUnit == 0);
// Rows widened at a time, as the packed layout has them.
constexpr std::int64_t kStripRows = 64;
static_assert(kTileRows % kStripRows == 0 && kStripRows % kPanelCols == 0);

// A thread's memory for one tile, in elements of 32 bits: columns in f32 or pairs of columns in bf16.
struct TileScratch {
  float* panels;  // of W^T, the tile's rows
  float* strip;   // (kStripRows, depth); f32 only
  float* inputs;  // (kTileTokens, kDepth)

  static std::int64_t floats(std::int64_t depth) {
    return panel_floats(depth, kTileRows) + kStripRows * depth + kTileTokens * kDepth;
  }
  TileScratch(float* memory, std::int64_t depth)
      : panels(memory), strip(panels + panel_floats(depth, kTileRows)), inputs(strip + kStripRows * depth) {}
};

// Columns first .. first + count of x. Rows at such distances fall into few sets of the caches and drive each
// other out, they are copied together.
ConstRows inputs_of(Matrix x, std::int64_t first, std::int64_t count, const TileScratch& scratch) {
  if (x.cols % 1024 != 0) return {x.data + first, x.cols};
  for (std::int64_t t = 0; t < x.rows; ++t)
    std::copy_n(x.data + t * x.cols + first, count, scratch.inputs + t * count);
  return {scratch.inputs, count};
}

// y (tokens, rows) (+)= x W^T for the rows of W in the panels.
void multiply_tile(MultiplyPanels multiply_panels, Rows y, Matrix x, const Panels& w, Store store,
                   const TileScratch& scratch) {
  const std::int64_t pieces = (x.cols + kDepth - 1) / kDepth;
  // All about the same, and whole tiles of bf16_amx.cpp.
  const std::int64_t depth = ((x.cols + pieces - 1) / pieces + kDepthUnit - 1) / kDepthUnit * kDepthUnit;
  for (std::int64_t k = 0; k < x.cols; k += depth) {
    const std::int64_t count = std::min(depth, x.cols - k);
    multiply(multiply_panels, y, inputs_of(x, k, count, scratch), x.rows, w, {k, count},
             k > 0 ? Store::add : store);
  }
}

void add_bias(float* y, std::int64_t stride, const float* bias, std::int64_t rows, std::int64_t tokens) {
  for (std::int64_t t = 0; t < tokens; ++t) {
    for (std::int64_t i = 0; i < rows; ++i) y[t * stride + i] += bias[i];
  }
}

// y (+)= x W^T + bias, x (tokens, elements). pack(first, rows, scratch): these rows of W as panels.
template <typename Pack>
void multiply_tiles(const Execution& run, MultiplyPanels multiply_panels, Matrix y,
                    std::span<const float> bias, Matrix x, Store store, std::int64_t tile_rows,
                    const Pack& pack) {
  const std::int64_t m = y.cols;
  run.memory.reserve(TileScratch::floats(x.cols));
  // Also cut along the tokens, or a narrow matrix would be the work of few threads.
  const std::int64_t row_tiles = (m + tile_rows - 1) / tile_rows;
  const std::int64_t token_tiles = (x.rows + kTileTokens - 1) / kTileTokens;
  parallel(row_tiles * token_tiles, [&](Indices& mine) {
    const TileScratch scratch(run.memory.mine(), x.cols);
    std::int64_t packed = -1;  // the row tile in this thread's memory
    while (mine.next()) {
      const std::int64_t tile = mine.index() / token_tiles;
      const std::int64_t first = tile * tile_rows;
      const std::int64_t rows = std::min(tile_rows, m - first);
      if (packed != tile) pack(first, rows, scratch);
      packed = tile;
      const std::int64_t token = mine.index() % token_tiles * kTileTokens;
      const std::int64_t tokens = std::min(kTileTokens, x.rows - token);
      float* out = y.data + token * m + first;
      multiply_tile(multiply_panels, {out, m}, {x.data + token * x.cols, tokens, x.cols},
                    {scratch.panels, x.cols, rows}, store, scratch);
      if (!bias.empty()) add_bias(out, m, bias.data() + first, rows, tokens);
    }
  });
}

}  // namespace

std::int64_t tile_floats(std::int64_t n) {
  return TileScratch::floats(n);
}

float* ThreadMemory::mine() {
  return pieces_[static_cast<std::size_t>(thread_index())].data();
}

void linear_tiles(const Execution& run, Matrix y, const Linear& weight, Matrix x, Store store) {
  const VectorKernels& kernels = run.kernels.vectors;
  const std::int64_t n = x.cols;
  const auto* dense = std::get_if<TensorView>(&weight.weight);
  const bool f32 = dense != nullptr && dense->dtype == DType::f32;
  const auto pack = [&](std::int64_t first, std::int64_t rows, const TileScratch& scratch) {
    if (f32) {
      pack_transposed(kernels, scratch.panels, static_cast<const float*>(dense->data) + first * n, n, rows);
      return;
    }
    for (std::int64_t r = 0; r < rows; r += kStripRows) {
      const std::int64_t count = std::min(kStripRows, rows - r);
      weight_rows(run.kernels, weight, first + r, count, scratch.strip);
      pack_transposed(kernels, scratch.panels + r * n, scratch.strip, n, count);
    }
  };
  multiply_tiles(run, kernels.multiply_panels, y, weight.bias, x, store, kTileRows, pack);
}

void narrow(const Bf16Kernels& kernels, Matrix x, Bf16Input& out) {
  out.tokens = x.rows;
  out.pairs = Bf16Kernels::pairs(x.cols);
  std::uint32_t* memory = grown(out.memory, out.tokens * out.pairs);
  const auto narrow_token = [&](std::int64_t t) {
    kernels.narrow(x.data + t * x.cols, x.cols, memory + t * out.pairs);
  };
  parallel_for(x.rows, narrow_token);
}

void linear_tiles_bf16(const Execution& run, Matrix y, const Linear& weight, Bf16Input& x, Store store) {
  const Bf16Kernels& kernels = *run.kernels.bf16;
  const auto& w = std::get<SpqrMatrix>(weight.weight);
  const SpqrLayout layout(w.format, w.m, w.n);
  const auto pack = [&](std::int64_t first, std::int64_t rows, const TileScratch& scratch) {
    for (std::int64_t r = 0; r < rows; r += kStripRows)
      kernels.pack_strip(w, layout, (first + r) / kStripRows,
                         reinterpret_cast<std::uint32_t*>(scratch.panels) + r * x.pairs);
  };
  // Pairs travel as if they were floats: nobody looks at them but the kernels.
  const Matrix pairs{reinterpret_cast<float*>(x.memory.data()), x.tokens, x.pairs};
  multiply_tiles(run, kernels.multiply_panels, y, weight.bias, pairs, store, kTileRowsBf16, pack);
}

// The high parts, again, and the low ones: what panels of linear_tiles_split() are multiplied with.
void split(const Bf16Kernels& kernels, Matrix x, Bf16Input& out) {
  out.tokens = x.rows;
  out.pairs = Bf16Kernels::split_pairs(x.cols);
  const std::int64_t part = Bf16Kernels::plain_pairs(x.cols);
  std::uint32_t* memory = grown(out.memory, out.tokens * out.pairs);
  const auto split_token = [&](std::int64_t t) {
    std::uint32_t* high = memory + t * out.pairs;
    kernels.split(x.data + t * x.cols, x.cols, high, high + 2 * part);
    std::copy_n(high, part, high + part);
  };
  parallel_for(x.rows, split_token);
}

void linear_tiles_split(const Execution& run, Matrix y, const Linear& weight, Bf16Input& x, Store store) {
  const Bf16Kernels& kernels = *run.kernels.bf16;
  const std::int64_t n = weight.n();
  const std::int64_t part = Bf16Kernels::plain_pairs(n);
  // Panels are made as of f32, whatever the lanes are.
  const auto transpose = run.kernels.vectors.transpose_panel;
  const auto pack = [&](std::int64_t first, std::int64_t rows, const TileScratch& scratch) {
    float* high = scratch.strip + kPanelCols * n;
    float* low = high + kPanelCols * part;
    for (std::int64_t r = 0; r < rows; r += kPanelCols) {
      const std::int64_t count = std::min(kPanelCols, rows - r);
      weight_rows(run.kernels, weight, first + r, count, scratch.strip);
      for (std::int64_t i = 0; i < count; ++i) {
        kernels.split(scratch.strip + i * n, n, reinterpret_cast<std::uint32_t*>(high + i * part),
                      reinterpret_cast<std::uint32_t*>(low + i * part));
      }
      float* panel = scratch.panels + r * x.pairs;
      transpose(panel, high, part, count);
      transpose(panel + part * kPanelCols, low, part, count);
      std::copy_n(panel, part * kPanelCols, panel + 2 * part * kPanelCols);
    }
  };
  const Matrix pairs{reinterpret_cast<float*>(x.memory.data()), x.tokens, x.pairs};
  multiply_tiles(run, kernels.multiply_panels, y, weight.bias, pairs, store, kTileRowsBf16, pack);
}

}  // namespace spqr::cpu
