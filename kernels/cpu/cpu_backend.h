// The fast backend for host processors: vector code chosen by CPUID, and OpenMP.
#pragma once

#include <memory>

#include "kernels/backend.h"

namespace spqr {

// Each operation sets OpenMP's number of threads (of the thread that calls it) to options.threads.
std::unique_ptr<Backend> make_cpu_backend(const BackendOptions& options);

}  // namespace spqr
