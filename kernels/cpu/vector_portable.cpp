// For any processor.
#include "kernels/cpu/vectors.h"
#include "kernels/half.h"

namespace spqr::cpu {
namespace {

inline f32v load_f16(const std::uint16_t* from) {
  float values[kLanes];
  for (int i = 0; i < kLanes; ++i) values[i] = f16_to_f32(from[i]);
  return load<f32v>(values);
}

inline i32v load_i8(const std::byte* from) {
  return __builtin_convertvector(load<i8v>(from), i32v);
}

}  // namespace
}  // namespace spqr::cpu

#include "kernels/cpu/vector_body.h"

namespace spqr::cpu {

const VectorKernels kVectorPortable{
    sum,      dot,      dot_f16,  dot_bf16,   widen_f16,       widen_q8_0,
    dot_rows, add_rows, scale,    scale_max,  scale_add_max,   exp_sum,
    swiglu,   gelu,     rms_norm, layer_norm, multiply_panels, transpose_panel};

}  // namespace spqr::cpu
