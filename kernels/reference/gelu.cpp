// h = x Phi(x), elementwise: the GELU with the error function.   Source: arXiv 1606.08415.
#include <cmath>
#include <numbers>

#include "kernels/reference/operations.h"

namespace spqr::reference {

void gelu(Matrix h, Matrix x) {
  for (std::int64_t i = 0; i < x.rows * x.cols; ++i) {
    const double value = x.data[i];
    // 1 + erf(x) would be 0 far below zero, where erfc(-x) still has all its digits.
    h.data[i] = static_cast<float>(value * std::erfc(-value / std::numbers::sqrt2) / 2);
  }
}

}  // namespace spqr::reference
