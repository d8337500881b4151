#include "kernels/cuda/scratch_sizes.h"

#include <algorithm>
#include <climits>
#include <stdexcept>
#include <string>

#include "kernels/cuda/arena.h"
#include "kernels/cuda/spqr_device_layout.h"

namespace spqr::cuda {
namespace {

std::int64_t round_up(std::int64_t value, std::int64_t multiple) {
  return ceil_div(value, multiple) * multiple;
}

std::int64_t tile_rows(AttentionKernel kernel, std::int64_t rows) {
  if (kernel == AttentionKernel::few) return attention_few_rows(static_cast<int>(rows));
  return kernel == AttentionKernel::many ? kAttentionManyRows : kAttentionManyF16Rows;
}

std::size_t matvec_scratch_bytes(int multiprocessors) {
  return matvec_most_blocks(multiprocessors) * kMatvecTokens * SpqrDeviceLayout::kStripRows * sizeof(float);
}

// A MatmulInput (device/spqr_matmul_input.cuh).
std::size_t matmul_scratch_bytes(std::int64_t tokens, std::int64_t n) {
  const std::int64_t padded = round_up(std::min(tokens, kMatmulTokens), kMatmulTileTokens);
  const std::int64_t value_bytes = sizeof(float) + 2 * sizeof(std::uint16_t);
  return static_cast<std::size_t>(padded * (round_up(n, SpqrDeviceLayout::kPanelColumns) * value_bytes +
                                            2 * std::int64_t{sizeof(float)}));
}

}  // namespace

int attention_few_rows(int rows) {
  int tile = 1;
  while (tile < rows && tile < kAttentionFewMostRows) tile *= 2;
  return tile;
}

// What is worth the part that a split leaves.
std::int64_t attention_least_keys(AttentionKernel kernel) {
  return kernel == AttentionKernel::few ? 64 : 256;
}

std::int64_t attention_splits(int multiprocessors, AttentionKernel kernel, std::int64_t kv_heads,
                              std::int64_t rows, std::int64_t visible) {
  constexpr std::int64_t kMostSplits = 128;
  // Blocks that a multiprocessor has at once.
  const std::int64_t resident = kernel == AttentionKernel::few ? 4 : 2;
  const std::int64_t blocks = ceil_div(rows, tile_rows(kernel, rows)) * kv_heads;
  const std::int64_t enough = ceil_div(resident * multiprocessors, blocks);
  const std::int64_t worth = std::max<std::int64_t>(1, ceil_div(visible, attention_least_keys(kernel)));
  return std::min({enough, worth, kMostSplits});
}

void check_head_dim(std::int64_t head_dim) {
  if (head_dim <= kMostHeadDim) return;
  throw std::invalid_argument("attention on cuda takes a head_dim of at most " +
                              std::to_string(kMostHeadDim) + ", found " + std::to_string(head_dim) +
                              ": use the cpu backend");
}

std::size_t attention_scratch_bytes(int multiprocessors, const LargestShapes& largest) {
  check_head_dim(largest.head_dim);
  if (largest.heads == 0) return 0;
  const std::int64_t kv_heads = largest.heads / largest.heads_per_kv;
  std::int64_t parts = 0;
  for (std::int64_t tokens = 1; tokens <= largest.tokens; ++tokens) {
    for (const auto kernel : {AttentionKernel::few, AttentionKernel::many, AttentionKernel::many_f16}) {
      if ((kernel == AttentionKernel::few) != (tokens <= kFewTokens)) continue;
      const std::int64_t splits =
          attention_splits(multiprocessors, kernel, kv_heads, tokens * largest.heads_per_kv, INT_MAX);
      if (splits > 1) parts = std::max(parts, tokens * largest.heads * splits);
    }
  }
  return static_cast<std::size_t>(parts * (largest.head_dim + 2)) * sizeof(float);
}

std::size_t matvec_most_blocks(int multiprocessors) {
  constexpr std::size_t kBlocksWanted = 2;  // per multiprocessor
  return std::min<std::size_t>(kBlocksWanted * static_cast<std::size_t>(multiprocessors), kCounters);
}

std::size_t spqr_linear_scratch_bytes(int multiprocessors, std::int64_t tokens, std::int64_t n) {
  const std::size_t few = matvec_scratch_bytes(multiprocessors);
  return tokens <= kMatvecTokens ? few : std::max(few, matmul_scratch_bytes(tokens, n));
}

std::size_t largest_scratch_bytes(std::int64_t n) {
  // What two rounds keep: one reads while the other is written.
  const std::int64_t first = ceil_div(n, kLargestChunk) * Backend::kMostCandidates;
  const std::int64_t second = ceil_div(first, kLargestChunk) * Backend::kMostCandidates;
  return static_cast<std::size_t>(first + second) * sizeof(std::uint64_t);
}

std::size_t normed_bytes(std::int64_t tokens, std::int64_t n) {
  return aligned(static_cast<std::size_t>(tokens * n) * sizeof(float));
}

std::size_t candidates_bytes() {
  return aligned(Backend::kMostCandidates * (sizeof(std::int32_t) + sizeof(float)));
}

std::size_t ids_bytes(std::int64_t tokens) {
  return aligned(static_cast<std::size_t>(tokens) * sizeof(std::int32_t));
}

std::size_t operation_scratch_bytes(int multiprocessors, const LargestShapes& largest) {
  const std::size_t product = normed_bytes(largest.tokens, largest.in_features) +
                              spqr_linear_scratch_bytes(multiprocessors, largest.tokens, largest.in_features);
  return aligned(
      std::max({product, attention_scratch_bytes(multiprocessors, largest),
                candidates_bytes() + largest_scratch_bytes(largest.vocabulary), kUploadPieceBytes}));
}

std::size_t backend_scratch_bytes(int multiprocessors, const LargestShapes& largest) {
  return operation_scratch_bytes(multiprocessors, largest) + ids_bytes(largest.tokens);
}

}  // namespace spqr::cuda
