// What strip kernels for processors with AVX2 share: see spqr_strip_body.h.
#pragma once

#include <immintrin.h>

#include <cstddef>

#include "kernels/cpu/vectors.h"

namespace spqr {
namespace {

inline f32x8 bytes_to_f32(const void* bytes) {
  return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(bytes))));
}

inline f32x8 load_f16(const std::byte* from) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}

inline float sum_of_eight(f32x8 v) {
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

#if SPQR_LANES == 16
// Without a mask GCC 12 warns of what these leave undefined.
inline f32v look_up(f32v table, u32v index) {
  return _mm512_maskz_permutexvar_ps(0xFFFF, reinterpret_cast<__m512i>(index), table);
}
inline u64v two_words(const std::byte* words) {
  return reinterpret_cast<u64v>(
      _mm512_maskz_broadcast_i64x2(0xFF, _mm_loadu_si128(reinterpret_cast<const __m128i*>(words))));
}
inline u64v four_words(const std::byte* words) {
  return reinterpret_cast<u64v>(
      _mm512_maskz_broadcast_i64x4(0xFF, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(words))));
}
#else
inline f32v look_up(f32v table, u32v index) {
  return _mm256_permutevar8x32_ps(table, reinterpret_cast<__m256i>(index));
}
inline u64v two_words(const std::byte* words) {
  return reinterpret_cast<u64v>(
      _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(words))));
}
inline u64v four_words(const std::byte* words) {
  return load<u64v>(words);
}
#endif

}  // namespace
}  // namespace spqr
