// The pieces of the AVX2 strip kernels, for candidates that share them.
#pragma once

#include "kernels/cpu/spqr_strip_x86.h"

// What that defines is used by
#include "kernels/cpu/spqr_strip_statistics.h"

namespace spqr {
namespace {

inline float sum_of_lanes(f32x8 v) {
  float sum = 0;
  for (int i = 0; i < kLanes; ++i) sum += v[i];
  return sum;
}

}  // namespace
}  // namespace spqr
