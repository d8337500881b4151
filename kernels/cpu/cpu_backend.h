// The fast backend for host processors: vector code chosen by CPUID, OpenMP, BLAS for matrices of many
// tokens.
#pragma once

#include <memory>

#include "kernels/backend.h"

namespace spqr {

// Sets the number of OpenMP threads of the calling thread, from which all calls must come.
std::unique_ptr<Backend> make_cpu_backend(const BackendOptions& options);

}  // namespace spqr
