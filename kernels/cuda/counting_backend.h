// What calls of a CudaBackend take of the device's memory, without a device.
#pragma once

#include <memory>

#include "kernels/backend.h"

namespace spqr::cuda {

std::unique_ptr<CountingBackend> make_counting_backend(int multiprocessors);

}  // namespace spqr::cuda
