#include "kernels/cpu/spqr_vectors.h"
#include "kernels/half.h"

namespace spqr::cpu {
namespace {

inline f32x8 load_f16(const std::uint16_t* from) {
  float values[kLanes];
  for (int i = 0; i < kLanes; ++i) values[i] = f16_to_f32(from[i]);
  return load<f32x8>(values);
}

}  // namespace
}  // namespace spqr::cpu

#include "kernels/cpu/vector_body.h"

namespace spqr::cpu {

const VectorKernels& portable_vector_kernels() {
  static constexpr VectorKernels kKernels{
      "portable",    dot,     dot_f16, dot_bf16, dot_rows, add_rows,   scale,          scale_max,
      scale_add_max, exp_sum, swiglu,  gelu,     rms_norm, layer_norm, multiply_panel, transpose_panel};
  return kKernels;
}

const VectorKernels& vector_kernels() {
#if defined(__x86_64__)
  static const VectorKernels& chosen = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")
                                           ? avx2_vector_kernels()
                                           : portable_vector_kernels();
  return chosen;
#else
  return portable_vector_kernels();
#endif
}

}  // namespace spqr::cpu
