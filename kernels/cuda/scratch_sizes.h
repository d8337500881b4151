// What operations take of a GPU's memory beside their arguments, and how their work is cut, which that
// follows from. Needs neither CUDA nor a device: memory is planned without.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/backend.h"

namespace spqr::cuda {

constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}

// Attention: which kernel it is, the query rows of a kv head that a block of it has (where there are `rows`),
// and into how many splits the keys are cut. visible: keys that the tokens see together, at most.
enum class AttentionKernel : std::uint8_t { few, many, many_f16 };
inline constexpr std::int64_t kFewTokens = 8;  // up to these it is `few`
inline constexpr int kAttentionFewMostRows = 8;
inline constexpr int kAttentionManyRows = 32;
inline constexpr int kAttentionManyF16Rows = 64;
int attention_few_rows(int rows);
std::int64_t attention_least_keys(AttentionKernel kernel);  // of a split
std::int64_t attention_splits(int multiprocessors, AttentionKernel kernel, std::int64_t kv_heads,
                              std::int64_t rows, std::int64_t visible);
inline constexpr int kMostHeadDim = 256;
// Throws std::invalid_argument where head_dim is more.
void check_head_dim(std::int64_t head_dim);
// Throws as check_head_dim() does, so that a model is refused when its memory is planned.
std::size_t attention_scratch_bytes(int multiprocessors, const LargestShapes& largest);

// Products with packed weights: spqr_matvec takes up to kMatvecTokens, spqr_matmul works on kMatmulTokens at
// a time, padded to whole tiles.
inline constexpr std::int64_t kMatvecTokens = 8;
inline constexpr std::int64_t kMatmulTokens = 256;
inline constexpr int kMatmulTileTokens = 64;
// Of spqr_matvec: blocks of all split strips together are no more, and so are strips that are split.
std::size_t matvec_most_blocks(int multiprocessors);
std::size_t spqr_linear_scratch_bytes(int multiprocessors, std::int64_t tokens, std::int64_t n);

// Of the largest of n logits: numbers that a block keeps the largest of.
inline constexpr int kLargestChunk = 2048;
std::size_t largest_scratch_bytes(std::int64_t n);

// Counters that kernels share, 0 whenever none runs.
inline constexpr std::int64_t kCounters = 16384;
// Weights go to the device in pieces of this size, and packed ones need as much there.
inline constexpr std::size_t kUploadPieceBytes = std::size_t{8} << 20U;

// A product's input after its norm.
std::size_t normed_bytes(std::int64_t tokens, std::int64_t n);
// The results of largest(), in front of its scratch.
std::size_t candidates_bytes();
// Ids of tokens to embed.
std::size_t ids_bytes(std::int64_t tokens);
// Of any operation of CudaBackend, and that with ids beside it.
std::size_t operation_scratch_bytes(int multiprocessors, const LargestShapes& largest);
std::size_t backend_scratch_bytes(int multiprocessors, const LargestShapes& largest);

}  // namespace spqr::cuda
