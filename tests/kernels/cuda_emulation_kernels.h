// Small kernels, right and wrong ones, for the tests of the emulation.
#pragma once

#include <string_view>

#include "kernels/cuda/gpu.h"

namespace spqr::cuda {

// Runs the kernel of that name (cuda_emulation_kernels.cu) on `out` and `in`, of kCaseFloats floats each.
inline constexpr int kCaseFloats = 256;
void run_case(std::string_view name, const Gpu& gpu, float* out, const float* in);

}  // namespace spqr::cuda
