// The pieces of the AVX2 strip kernels, for candidates that share them.
#pragma once

#include <immintrin.h>

#include "kernels/cpu/spqr_vectors.h"

namespace spqr {
namespace {

inline f32x8 bytes_to_f32(const void* bytes) {
  return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(bytes))));
}

inline float sum_of_lanes(f32x8 v) {
  float sum = 0;
  for (int i = 0; i < kLanes; ++i) sum += v[i];
  return sum;
}

}  // namespace
}  // namespace spqr

#include "kernels/cpu/spqr_strip_body.h"
