#include "kernels/quantize/second_moments.h"

#include <cblas.h>

#include <algorithm>
#include <utility>

#include "kernels/blas_threads.h"

namespace spqr {
namespace {

constexpr std::int64_t kTile = 384;

// Tiles (row, column) of the upper triangle, diagonal ones last: they are half the work.
std::vector<std::pair<std::int64_t, std::int64_t>> upper_tiles(std::int64_t n) {
  std::vector<std::pair<std::int64_t, std::int64_t>> tiles;
  for (std::int64_t i = 0; i < n; i += kTile) {
    for (std::int64_t j = i + kTile; j < n; j += kTile) tiles.emplace_back(i, j);
  }
  for (std::int64_t i = 0; i < n; i += kTile) tiles.emplace_back(i, i);
  return tiles;
}

}  // namespace

// sum += x^T x.  2 tokens n (n + 1) / 2 multiplications, x read once per row of tiles: compute-bound.
void SecondMoments::add(const float* x, std::int64_t tokens) {
  const SingleThreadedBlas one_thread_a_tile;
  const auto tiles = upper_tiles(n_);
  const int n = static_cast<int>(n_);
  const int count = static_cast<int>(tokens);
#pragma omp parallel for schedule(dynamic)
  for (const auto& [i, j] : tiles) {
    const int rows = static_cast<int>(std::min(kTile, n_ - i));
    const int cols = static_cast<int>(std::min(kTile, n_ - j));
    float* out = sum_.data() + i * n_ + j;
    if (i == j) {
      cblas_ssyrk(CblasRowMajor, CblasUpper, CblasTrans, rows, count, 1.0F, x + i, n, 1.0F, out, n);
    } else {
      cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, rows, cols, count, 1.0F, x + i, n, x + j, n, 1.0F,
                  out, n);
    }
  }
  tokens_ += tokens;
}

std::vector<float> SecondMoments::take() {
  const float factor = tokens_ > 0 ? 2.0F / static_cast<float>(tokens_) : 0.0F;
  const std::int64_t n = n_;
#pragma omp parallel for schedule(dynamic, 16)
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = i; j < n; ++j) {
      const float value = factor * sum_[static_cast<std::size_t>(i * n + j)];
      sum_[static_cast<std::size_t>(i * n + j)] = value;
      sum_[static_cast<std::size_t>(j * n + i)] = value;
    }
  }
  tokens_ = 0;
  return std::move(sum_);
}

}  // namespace spqr
