// h = silu(gate) * up, elementwise.   Source: arXiv 2002.05202.
#include <cmath>

#include "kernels/reference/operations.h"

namespace spqr::reference {

void swiglu(Matrix h, Matrix gate, Matrix up) {
  for (std::int64_t i = 0; i < gate.rows * gate.cols; ++i) {
    const double g = gate.data[i];
    h.data[i] = static_cast<float>(g / (1.0 + std::exp(-g)) * up.data[i]);
  }
}

}  // namespace spqr::reference
