#include "kernels/cpu/spqr_matvec.h"

#include <vector>

namespace spqr {

void spqr_matvec(const SpqrMatrix& w, const float* x, float* y) {
#pragma omp parallel
  {
    std::vector<float> row(static_cast<std::size_t>(w.n));
#pragma omp for schedule(static)
    for (std::int64_t i = 0; i < w.m; ++i) {
      dequantize_row(w, i, row.data());
      float sum = 0;
      for (std::int64_t j = 0; j < w.n; ++j) sum += row[j] * x[j];
      y[i] = sum;
    }
  }
}

void dequantize_rows(const SpqrMatrix& w, std::int64_t first_row, std::int64_t rows, float* out) {
#pragma omp parallel for schedule(static)
  for (std::int64_t i = 0; i < rows; ++i) dequantize_row(w, first_row + i, out + i * w.n);
}

}  // namespace spqr
