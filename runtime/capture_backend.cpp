#include "runtime/capture_backend.h"

#include <cblas.h>

#include <algorithm>
#include <utility>

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

void CaptureBackend::watch(std::vector<SecondMoments*> inputs) {
  while (!inputs.empty() && inputs.back() == nullptr) inputs.pop_back();
  inputs_ = std::move(inputs);
  call_ = 0;
}

bool CaptureBackend::see(Matrix x) {
  if (inputs_.empty()) return false;
  if (call_ < inputs_.size() && inputs_[call_] != nullptr) inputs_[call_]->add(x.data, x.rows);
  ++call_;
  return done();
}

void CaptureBackend::linear_group(std::span<const Matrix> ys, const LinearGroup& group, Matrix x,
                                  const Norm* norm) {
  if (done()) return;
  const bool watched = !inputs_.empty() && inputs_[call_] != nullptr;
  if (watched && norm != nullptr) {
    // The norm is computed once, for the moments and for the linears.
    const auto bytes = static_cast<std::size_t>(x.rows * x.cols) * sizeof(float);
    if (normed_.bytes() < bytes) normed_ = inner_.allocate(bytes);
    const Matrix normed = normed_.matrix(x.rows, x.cols);
    inner_.rms_norm(normed, x, *norm);
    x = normed;
    norm = nullptr;
  }
  if (!see(x)) inner_.linear_group(ys, group, x, norm);
}

void CaptureBackend::linear_add(Matrix x, const LinearGroup& weight, Matrix a) {
  if (done()) return;
  if (!see(a)) inner_.linear_add(x, weight, a);
}

void CaptureBackend::embed(Matrix x, const Linear& table, std::span<const std::int32_t> ids) {
  if (!done()) inner_.embed(x, table, ids);
}

void CaptureBackend::rms_norm(Matrix y, Matrix x, const Norm& norm) {
  if (!done()) inner_.rms_norm(y, x, norm);
}

void CaptureBackend::rope_append(Matrix q, Matrix k, Matrix v, const Rope& rope, const KvLayer& cache,
                                 std::int64_t first) {
  if (!done()) inner_.rope_append(q, k, v, rope, cache, first);
}

void CaptureBackend::attention(Matrix out, Matrix q, const KvLayer& cache, std::int64_t first,
                               const AttentionShape& shape) {
  if (!done()) inner_.attention(out, q, cache, first, shape);
}

void CaptureBackend::swiglu(Matrix h, Matrix gate, Matrix up) {
  if (!done()) inner_.swiglu(h, gate, up);
}

}  // namespace spqr
