// Rotary position embedding, half-split pairs.   Source: arXiv 2104.09864; pairing as in Hugging Face's
// checkpoints.
#include <cmath>

#include "kernels/reference/operations.h"

namespace spqr::reference {

void rope(Matrix x, const Rope& rope, std::int64_t head_dim, std::int64_t first) {
  const std::int64_t half = head_dim / 2;
  for (std::int64_t t = 0; t < x.rows; ++t) {
    for (std::int64_t i = 0; i < half; ++i) {
      // The angle is a product of f32 numbers, as where the models were trained; its sine and cosine are
      // exact.
      const float angle = static_cast<float>(first + t) * rope.inverse_frequency[static_cast<std::size_t>(i)];
      const double cosine = std::cos(static_cast<double>(angle));
      const double sine = std::sin(static_cast<double>(angle));
      for (float* head = x.data + t * x.cols; head < x.data + (t + 1) * x.cols; head += head_dim) {
        const double a = head[i];
        const double b = head[i + half];
        head[i] = static_cast<float>(a * cosine - b * sine);
        head[i + half] = static_cast<float>(b * cosine + a * sine);
      }
    }
  }
}

}  // namespace spqr::reference
