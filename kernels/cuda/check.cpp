#include "kernels/cuda/check.h"

#include <new>
#include <stdexcept>
#include <string>

namespace spqr::cuda {
namespace {

class OutOfDeviceMemory final : public std::bad_alloc {
 public:
  const char* what() const noexcept override { return "the GPU has no more memory"; }
};

}  // namespace

void check(cudaError_t status, const char* doing) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // the next call shall not report it again
  if (status == cudaErrorMemoryAllocation) throw OutOfDeviceMemory();
  if (status == cudaErrorNoKernelImageForDevice || status == cudaErrorUnsupportedPtxVersion) {
    throw std::runtime_error(
        "this program has no code for this GPU: build it with -DSPQR_CUDA_ARCHITECTURES=native there");
  }
  throw std::runtime_error(std::string("the GPU failed at ") + doing + ": " + cudaGetErrorString(status) +
                           " (" + cudaGetErrorName(status) + ")");
}

}  // namespace spqr::cuda
