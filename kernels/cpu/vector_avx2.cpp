// Compiled with -mavx2 -mfma -mf16c.
#include "kernels/cpu/vector_body.h"

namespace spqr::cpu {

const VectorKernels& avx2_vector_kernels() {
  static constexpr VectorKernels kKernels{"avx2", dot, axpy, scale, scale_max, exp_sum, swiglu, rms_norm};
  return kKernels;
}

}  // namespace spqr::cpu
