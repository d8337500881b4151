// For AVX-512 F, BW, DQ and VL; compiled with these.
#define SPQR_LANES 16
#include <immintrin.h>

#include "kernels/cpu/vectors.h"

namespace spqr::cpu {
namespace {

inline f32v load_f16(const std::uint16_t* from) {
  return _mm512_maskz_cvtph_ps(0xFFFF, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}

inline i32v load_i8(const std::byte* from) {
  return reinterpret_cast<i32v>(
      _mm512_maskz_cvtepi8_epi32(0xFFFF, _mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
}

}  // namespace
}  // namespace spqr::cpu

#include "kernels/cpu/vector_body.h"

namespace spqr::cpu {

const VectorKernels kVectorAvx512{sum,      dot,      dot_f16,  dot_bf16,   widen_f16,       widen_q8_0,
                                  dot_rows, add_rows, scale,    scale_max,  scale_add_max,   exp_sum,
                                  swiglu,   gelu,     rms_norm, layer_norm, multiply_panels, transpose_panel};

}  // namespace spqr::cpu
