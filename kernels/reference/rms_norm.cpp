// y = x / sqrt(mean(x^2) + eps) * weight over runs of weight.size() values.   Source: arXiv 1910.07467.
#include <cmath>

#include "kernels/reference/operations.h"

namespace spqr::reference {

void rms_norm(Matrix y, Matrix x, const Norm& norm) {
  const auto size = static_cast<std::int64_t>(norm.weight.size());
  const std::int64_t vectors = x.rows * x.cols / size;
  for (std::int64_t r = 0; r < vectors; ++r) {
    const float* in = x.data + r * size;
    float* out = y.data + r * size;
    double squares = 0;
    for (std::int64_t i = 0; i < size; ++i) squares += static_cast<double>(in[i]) * in[i];
    const double scale = 1.0 / std::sqrt(squares / static_cast<double>(size) + static_cast<double>(norm.eps));
    for (std::int64_t i = 0; i < size; ++i) {
      out[i] =
          static_cast<float>(in[i] * scale * static_cast<double>(norm.weight[static_cast<std::size_t>(i)]));
    }
  }
}

}  // namespace spqr::reference
