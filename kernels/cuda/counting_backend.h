// What calls of a CudaBackend take of the device's memory, without a device.
#pragma once

#include <memory>

#include "kernels/backend.h"

namespace spqr::cuda {

// scratch_bytes() is that of `counted`, which lives as long.
std::unique_ptr<CountingBackend> make_counting_backend(const Backend& counted);

}  // namespace spqr::cuda
