#include "kernels/cpu/vector_body.h"

namespace spqr::cpu {

const VectorKernels& portable_vector_kernels() {
  static constexpr VectorKernels kKernels{"portable", dot, axpy, scale, scale_max, exp_sum, swiglu, rms_norm};
  return kKernels;
}

const VectorKernels& vector_kernels() {
  static const VectorKernels& chosen =
      __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c")
          ? avx2_vector_kernels()
          : portable_vector_kernels();
  return chosen;
}

}  // namespace spqr::cpu
