// One NVIDIA GPU. Builds without CUDA have these functions too (cuda_absent.cpp).
#pragma once

#include <memory>
#include <string>

#include "kernels/backend.h"

namespace spqr {

// Why there is no device to run on, one sentence; empty: there is one, or an emulated one.
const std::string& cuda_absence();
// There is a device, and it is no emulation.
bool cuda_is_real();

// options.threads and options.isa are ignored. Throws std::runtime_error where cuda_absence() has a reason.
std::unique_ptr<Backend> make_cuda_backend(const BackendOptions& options);

}  // namespace spqr
