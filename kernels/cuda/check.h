// Every call of the CUDA runtime goes through check().
#pragma once

#include "kernels/cuda/cuda_api.h"

namespace spqr::cuda {

// Throws where `status` is an error: std::bad_alloc for memory that the device does not have, else
// std::runtime_error with one sentence that says what was being done (`doing`: "copying to the device") and
// what to do about it.
void check(cudaError_t status, const char* doing);

}  // namespace spqr::cuda
