// y = (x - mean(x)) / sqrt(variance(x) + eps) * weight + bias, row by row.   Source: arXiv 1607.06450.
#include <cmath>

#include "kernels/reference/operations.h"

namespace spqr::reference {

void layer_norm(Matrix y, Matrix x, const Norm& norm) {
  const std::int64_t n = x.cols;
  for (std::int64_t t = 0; t < x.rows; ++t) {
    const float* in = x.data + t * n;
    float* out = y.data + t * n;
    double mean = 0;
    for (std::int64_t i = 0; i < n; ++i) mean += in[i];
    mean /= static_cast<double>(n);
    double squares = 0;
    for (std::int64_t i = 0; i < n; ++i) squares += (in[i] - mean) * (in[i] - mean);
    const double scale = 1.0 / std::sqrt(squares / static_cast<double>(n) + static_cast<double>(norm.eps));
    for (std::int64_t i = 0; i < n; ++i) {
      const auto at = static_cast<std::size_t>(i);
      out[i] = static_cast<float>((in[i] - mean) * scale * static_cast<double>(norm.weight[at]) +
                                  static_cast<double>(norm.bias[at]));
    }
  }
}

}  // namespace spqr::reference
