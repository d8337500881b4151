// Streams: where work is queued, and recorded while a graph is captured.
#pragma once

#include <functional>

#include "kernels/cuda/emulation/runtime_api.h"

namespace spqr::emulation {

using Work = std::function<cudaError_t()>;

// Does the work (strict(): when it is waited for), or records it where the stream is being captured.
cudaError_t enqueue(cudaStream_t stream, Work work);
bool is_capturing(cudaStream_t stream);
// Does all that is queued.
cudaError_t finish_all();

// What CUDA does not allow while any stream is being captured (allocations, waits for the device, work in the
// default stream): ends the captures as invalid and returns an error, or cudaSuccess where none goes on.
cudaError_t forbidden_while_capturing(cudaError_t error);

// Remembers the error for cudaGetLastError and returns it.
cudaError_t remember(cudaError_t error);

}  // namespace spqr::emulation
