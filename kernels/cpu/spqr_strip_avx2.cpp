// Strip kernels for AVX2, FMA and F16C; compiled with these.
#include <immintrin.h>

#include <cstddef>

#include "kernels/cpu/spqr_vectors.h"

namespace spqr {
namespace {

// 8 bytes -> f32.
inline f32x8 bytes_to_f32(const void* bytes) {
  return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(bytes))));
}

inline f32x8 load_f16(const std::byte* from) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}

// Sums of 16-bit products: two columns to a lane.
using DotSums = __m256i;

// sums += the products of 4 columns: codes of up to 4 bits, x as signed bytes.
inline DotSums add_dot(DotSums sums, u32x8 codes, u32x8 x) {
  return _mm256_add_epi16(
      sums, _mm256_maddubs_epi16(reinterpret_cast<__m256i>(codes), reinterpret_cast<__m256i>(x)));
}
inline f32x8 total(DotSums sums) {
  return _mm256_cvtepi32_ps(_mm256_madd_epi16(sums, _mm256_set1_epi16(1)));
}

// table[the lowest 3 bits of each index]
inline f32x8 look_up(f32x8 table, u32x8 index) {
  return _mm256_permutevar8x32_ps(table, reinterpret_cast<__m256i>(index));
}

}  // namespace
}  // namespace spqr

#include "kernels/cpu/spqr_strip_int8.h"

namespace spqr {

const SpqrStripKernels kSpqrStripAvx2{"avx2", matvec_any, matvec_int8_any, round_input, dequantize_any};

}  // namespace spqr
