// The backend that defines the others: composes the plain operations of operations.h.
#pragma once

#include <memory>

#include "kernels/backend.h"

namespace spqr {

// It computes on the calling thread; options.threads is ignored.
std::unique_ptr<Backend> make_reference_backend(const BackendOptions& options);

}  // namespace spqr
