// Strip kernels for AVX2, FMA and F16C; compiled with these.
#include <immintrin.h>

#include "kernels/cpu/spqr_vectors.h"

namespace spqr {
namespace {

// 8 bytes -> f32.
inline f32x8 bytes_to_f32(const void* bytes) {
  return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(bytes))));
}

}  // namespace
}  // namespace spqr

#include "kernels/cpu/spqr_strip_body.h"

namespace spqr {

const SpqrStripKernels kSpqrStripAvx2{matvec_any, dequantize_any};

}  // namespace spqr
