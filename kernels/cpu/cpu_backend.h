// The fast backend for host processors: vector code chosen by CPUID, work shared among threads.
#pragma once

#include <memory>

#include "kernels/backend.h"

namespace spqr {

// Each operation sets the number of threads (threads.h) of the thread that calls it to options.threads.
// Throws std::invalid_argument for an options.isa that there is not.
std::unique_ptr<Backend> make_cpu_backend(const BackendOptions& options);

}  // namespace spqr
