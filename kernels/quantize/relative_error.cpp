// tr(A H A^T) = sum over all entries of (A H) * A, in tiles of rows.
#include <cblas.h>

#include <algorithm>
#include <vector>

#include "kernels/blas_threads.h"
#include "kernels/quantize/checks.h"
#include "kernels/quantize/quantize.h"
#include "kernels/threads.h"

namespace spqr {

namespace {

constexpr std::int64_t kTileRows = 64;

// a, product: (rows, n)
double weighted_square(const std::vector<float>& a, std::span<const float> h, std::int64_t rows,
                       std::int64_t n, std::vector<float>& product) {
  const int columns = static_cast<int>(n);
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, static_cast<int>(rows), columns, columns, 1.0F,
              a.data(), columns, h.data(), columns, 0.0F, product.data(), columns);
  double sum = 0.0;
  for (std::int64_t i = 0; i < rows * n; ++i)
    sum += static_cast<double>(a[i]) * static_cast<double>(product[i]);
  return sum;
}

}  // namespace

double relative_error(std::span<const float> w, std::span<const float> quantized, std::span<const float> h,
                      std::int64_t m, std::int64_t n) {
  check_shape(w, m, n, "the weight matrix");
  check_shape(quantized, m, n, "the quantized matrix");
  check_shape(h, n, n, "the Hessian");
  const SingleThreadedBlas single_threaded;
  const std::int64_t tiles = (m + kTileRows - 1) / kTileRows;
  std::vector<double> errors(static_cast<std::size_t>(tiles));
  std::vector<double> norms(static_cast<std::size_t>(tiles));
  parallel(tiles, [&](Indices& mine) {
    std::vector<float> a(static_cast<std::size_t>(kTileRows * n));
    std::vector<float> product(a.size());
    while (mine.next()) {
      const std::int64_t tile = mine.index();
      const std::int64_t begin = tile * kTileRows * n;
      const std::int64_t rows = std::min(kTileRows, m - tile * kTileRows);
      for (std::int64_t i = 0; i < rows * n; ++i) a[i] = quantized[begin + i] - w[begin + i];
      errors[tile] = weighted_square(a, h, rows, n, product);
      std::copy_n(w.begin() + begin, rows * n, a.begin());
      norms[tile] = weighted_square(a, h, rows, n, product);
    }
  });
  double error = 0.0;
  double norm = 0.0;
  for (std::int64_t tile = 0; tile < tiles; ++tile) {
    error += errors[tile];
    norm += norms[tile];
  }
  return norm > 0.0 ? error / norm : 0.0;
}

}  // namespace spqr
