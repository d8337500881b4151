// The pieces of the AVX2 strip kernels, for candidates that share them.
#pragma once

#include <immintrin.h>

#include <cstddef>

#include "kernels/cpu/spqr_vectors.h"

namespace spqr {
namespace {

inline f32x8 bytes_to_f32(const void* bytes) {
  return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(bytes))));
}

inline f32x8 load_f16(const std::byte* from) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}

inline float sum_of_lanes(f32x8 v) {
  float sum = 0;
  for (int i = 0; i < kLanes; ++i) sum += v[i];
  return sum;
}

}  // namespace
}  // namespace spqr

#include "kernels/cpu/spqr_strip_body.h"
