#include "kernels/cuda/device.h"

#include "kernels/cuda/check.h"

namespace spqr::cuda {
namespace {

constexpr int kFirst = 0;

int attribute(cudaDeviceAttr which) {
  int value = 0;
  check(cudaDeviceGetAttribute(&value, which, kFirst), "asking for the device's properties");
  return value;
}

int compute_capability() {
  return 10 * attribute(cudaDevAttrComputeCapabilityMajor) + attribute(cudaDevAttrComputeCapabilityMinor);
}

// "12.4" of 12040
std::string version(int number) {
  return std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10);
}

}  // namespace

std::string device_absence() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  cudaGetLastError();
  int driver = 0;
  cudaDriverGetVersion(&driver);
  if (status == cudaErrorInsufficientDriver || status == cudaErrorSystemDriverMismatch) {
    if (driver == 0) return "no NVIDIA driver is installed";
    return "the NVIDIA driver is for CUDA " + version(driver) + ", CUDA " +
           version(CUDART_VERSION / 1000 * 1000) + " or newer is needed: update the driver";
  }
  if (status == cudaErrorNoDevice || (status == cudaSuccess && count == 0)) return "no NVIDIA GPU is present";
  if (status != cudaSuccess) return std::string("the NVIDIA driver says: ") + cudaGetErrorString(status);
  const int found = compute_capability();
  if (found < kLeastComputeCapability) {
    return "the GPU has compute capability " + std::to_string(found / 10) + "." + std::to_string(found % 10) +
           ", 7.5 or newer is needed";
  }
  return "";
}

Device::Device() {
  check(cudaSetDevice(kFirst), "opening the device");
  gpu_.multiprocessors = attribute(cudaDevAttrMultiProcessorCount);
  gpu_.compute_capability = compute_capability();
  gpu_.shared_bytes = static_cast<std::size_t>(attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin));
  gpu_.cache_bytes = static_cast<std::size_t>(attribute(cudaDevAttrL2CacheSize));
  check(cudaStreamCreateWithFlags(&gpu_.stream, cudaStreamNonBlocking), "making a stream");
}

Device::~Device() {
  cudaStreamDestroy(gpu_.stream);
}

std::size_t free_device_memory() {
  std::size_t free = 0;
  std::size_t total = 0;
  check(cudaMemGetInfo(&free, &total), "asking for free memory");
  return free;
}

}  // namespace spqr::cuda
