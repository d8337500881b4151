#include "kernels/quantize/second_moments.h"

#include <algorithm>
#include <utility>

#include "kernels/cpu/kernel_tables.h"
#include "kernels/cpu/panels.h"
#include "kernels/threads.h"

namespace spqr {
namespace {

// A tile's panels of so many tokens stay in the second cache.
constexpr std::int64_t kTile = 384;
constexpr std::int64_t kDepth = 256;
static_assert(kTile % cpu::kPanelCols == 0);

// Tiles (row, column) of the upper triangle, diagonal ones last: they are half the work.
std::vector<std::pair<std::int64_t, std::int64_t>> upper_tiles(std::int64_t n) {
  std::vector<std::pair<std::int64_t, std::int64_t>> tiles;
  for (std::int64_t i = 0; i < n; i += kTile) {
    for (std::int64_t j = i + kTile; j < n; j += kTile) tiles.emplace_back(i, j);
  }
  for (std::int64_t i = 0; i < n; i += kTile) tiles.emplace_back(i, i);
  return tiles;
}

// x (tokens, n) in panels.
cpu::Panels pack_columns(std::vector<float>& memory, const float* x, std::int64_t tokens, std::int64_t n) {
  memory.resize(static_cast<std::size_t>(cpu::panel_floats(tokens, n)));
  const std::int64_t panels = (n + cpu::kPanelCols - 1) / cpu::kPanelCols;
  parallel_for(panels, [&](std::int64_t i) {
    cpu::pack_panel(memory.data() + i * tokens * cpu::kPanelCols, x + i * cpu::kPanelCols, tokens,
                    std::min(cpu::kPanelCols, n - i * cpu::kPanelCols), n);
  });
  return {memory.data(), tokens, n};
}

// sum (n, n) += x^T x for the tile at (i, j): both factors come from the same panels.
void add_tile(const cpu::Panels& x, std::int64_t i, std::int64_t j, float* sum) {
  const std::int64_t n = x.cols;
  for (std::int64_t k = 0; k < x.depth; k += kDepth) {
    const cpu::Span span{k, std::min(kDepth, x.depth - k)};
    for (std::int64_t row = i; row < std::min(i + kTile, n); row += cpu::kPanelCols) {
      const std::int64_t first = std::max(j, row);  // on the diagonal the rest is the other triangle
      const cpu::Panels right = cpu::columns(x, first, std::min(j + kTile, n) - first);
      const std::int64_t rows = std::min(cpu::kPanelCols, n - row);
      cpu::multiply_transposed(best_kernel_tables().vectors.multiply_panels, {sum + row * n + first, n},
                               cpu::columns(x, row, rows), right, span, cpu::Store::add);
    }
  }
}

}  // namespace

// sum += x^T x.  2 tokens n (n + 1) / 2 multiplications: compute-bound.
void SecondMoments::add(const float* x, std::int64_t tokens) {
  std::vector<float> memory;
  const cpu::Panels panels = pack_columns(memory, x, tokens, n_);
  const auto tiles = upper_tiles(n_);
  parallel_for(static_cast<std::int64_t>(tiles.size()), [&](std::int64_t tile) {
    const auto& [i, j] = tiles[static_cast<std::size_t>(tile)];
    add_tile(panels, i, j, sum_.data());
  });
  tokens_ += tokens;
}

std::size_t SecondMoments::scratch_bytes(std::int64_t n, std::int64_t tokens) {
  return sizeof(float) * static_cast<std::size_t>(cpu::panel_floats(tokens, n));
}

std::vector<float> SecondMoments::take() {
  const float factor = tokens_ > 0 ? 2.0F / static_cast<float>(tokens_) : 0.0F;
  const std::int64_t n = n_;
  parallel_for(n, [&](std::int64_t i) {
    for (std::int64_t j = i; j < n; ++j) {
      const float value = factor * sum_[static_cast<std::size_t>(i * n + j)];
      sum_[static_cast<std::size_t>(i * n + j)] = value;
      sum_[static_cast<std::size_t>(j * n + i)] = value;
    }
  });
  tokens_ = 0;
  return std::move(sum_);
}

}  // namespace spqr
