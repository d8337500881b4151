// The device, its memory and errors; streams.cpp has the rest.
#include "kernels/cuda/emulation/runtime_api.h"

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "kernels/cuda/emulation/block.h"
#include "kernels/cuda/emulation/emulation.h"
#include "kernels/cuda/emulation/memory.h"
#include "kernels/cuda/emulation/streams.h"

namespace spqr::emulation {
namespace {

constexpr int kMultiprocessors = 4;  // keeps grids small
constexpr int kVersion = 13000;

int capability_at_first() {
  const char* text = std::getenv("SPQR_EMULATED_COMPUTE_CAPABILITY");
  constexpr int kDefault = 80;
  return text == nullptr || std::atoi(text) == 0 ? kDefault : std::atoi(text);
}
std::atomic<int>& capability() {
  static std::atomic<int> it{capability_at_first()};
  return it;
}

// Whether `bytes` bytes lie in one allocation of the device.
bool in_device_memory(const void* pointer, std::size_t bytes) {
  const std::optional<Allocation> found = find_allocation(pointer);
  return found && bytes <= found->begin + found->bytes - reinterpret_cast<std::uintptr_t>(pointer);
}

// Whether a copy of this kind may read or write `pointer`.
bool fits(const void* pointer, std::size_t bytes, bool of_device) {
  return of_device ? in_device_memory(pointer, bytes) : !is_device_address(pointer);
}

cudaError_t check_copy(const void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  if (bytes == 0) return cudaSuccess;
  if (to == nullptr || from == nullptr) return cudaErrorInvalidValue;
  bool to_device = is_device_address(to);
  bool from_device = is_device_address(from);
  if (kind != cudaMemcpyDefault) {
    to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  }
  return fits(to, bytes, to_device) && fits(from, bytes, from_device) ? cudaSuccess : cudaErrorInvalidValue;
}

}  // namespace

void set_compute_capability(int value) {
  capability() = value;
}
int compute_capability() {
  return capability();
}

}  // namespace spqr::emulation

using namespace spqr::emulation;

// ---- errors

namespace {
struct ErrorText {
  cudaError_t error;
  const char* name;
  const char* text;
};
constexpr ErrorText kErrors[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInitializationError, "cudaErrorInitializationError", "initialization error"},
    {cudaErrorInvalidConfiguration, "cudaErrorInvalidConfiguration", "invalid configuration argument"},
    {cudaErrorInvalidMemcpyDirection, "cudaErrorInvalidMemcpyDirection", "invalid copy direction for memcpy"},
    {cudaErrorInsufficientDriver, "cudaErrorInsufficientDriver",
     "CUDA driver version is insufficient for CUDA runtime version"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorNoKernelImageForDevice, "cudaErrorNoKernelImageForDevice",
     "no kernel image is available for execution on the device"},
    {cudaErrorUnsupportedPtxVersion, "cudaErrorUnsupportedPtxVersion",
     "the provided PTX was compiled with an unsupported toolchain."},
    {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
    {cudaErrorNotReady, "cudaErrorNotReady", "device not ready"},
    {cudaErrorIllegalAddress, "cudaErrorIllegalAddress", "an illegal memory access was encountered"},
    {cudaErrorLaunchFailure, "cudaErrorLaunchFailure", "unspecified launch failure"},
    {cudaErrorSystemDriverMismatch, "cudaErrorSystemDriverMismatch",
     "system has unsupported display driver / cuda driver combination"},
    {cudaErrorStreamCaptureUnsupported, "cudaErrorStreamCaptureUnsupported",
     "operation not permitted when stream is capturing"},
    {cudaErrorStreamCaptureInvalidated, "cudaErrorStreamCaptureInvalidated",
     "operation failed due to a previous error during capture"},
    {cudaErrorStreamCaptureMerge, "cudaErrorStreamCaptureMerge",
     "operation would result in a merge of separate capture sequences"},
    {cudaErrorStreamCaptureIsolation, "cudaErrorStreamCaptureIsolation",
     "dependency created on uncaptured work in another stream"},
    {cudaErrorStreamCaptureUnmatched, "cudaErrorStreamCaptureUnmatched",
     "capture was not ended in the same stream as it began"},
    {cudaErrorStreamCaptureImplicit, "cudaErrorStreamCaptureImplicit",
     "operation would make the legacy stream depend on a capturing blocking stream"},
    {cudaErrorCapturedEvent, "cudaErrorCapturedEvent",
     "operation not permitted on an event last recorded in a capturing stream"},
};
ErrorText text_of(cudaError_t status) {
  for (const ErrorText& known : kErrors) {
    if (known.error == status) return known;
  }
  return {status, "cudaErrorUnknown", "unknown error"};
}
}  // namespace

const char* cudaGetErrorName(cudaError_t status) {
  return text_of(status).name;
}
const char* cudaGetErrorString(cudaError_t status) {
  return text_of(status).text;
}

// ---- the device

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  return device == 0 ? cudaSuccess : remember(cudaErrorInvalidDevice);
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (device != 0) return remember(cudaErrorInvalidDevice);
  *properties = {};
  std::strcpy(properties->name, "emulated GPU");
  properties->totalGlobalMem = memory_limit();
  properties->sharedMemPerBlock = kSharedBytesAlways;
  properties->sharedMemPerBlockOptin = kSharedBytesOptIn;
  properties->major = compute_capability() / 10;
  properties->minor = compute_capability() % 10;
  properties->multiProcessorCount = kMultiprocessors;
  properties->maxThreadsPerBlock = static_cast<int>(kMostThreads);
  properties->warpSize = kLanes;
  properties->l2CacheSize = 1 << 20;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  cudaDeviceProp properties;
  if (const cudaError_t status = cudaGetDeviceProperties(&properties, device); status != cudaSuccess)
    return status;
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock:
      *value = properties.maxThreadsPerBlock;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlock:
      *value = static_cast<int>(properties.sharedMemPerBlock);
      break;
    case cudaDevAttrWarpSize:
      *value = properties.warpSize;
      break;
    case cudaDevAttrClockRate:
      *value = 1000000;
      break;  // kHz
    case cudaDevAttrMemoryClockRate:
      *value = 1000000;
      break;  // kHz
    case cudaDevAttrGlobalMemoryBusWidth:
      *value = 64;
      break;  // bits
    case cudaDevAttrMultiProcessorCount:
      *value = properties.multiProcessorCount;
      break;
    case cudaDevAttrL2CacheSize:
      *value = properties.l2CacheSize;
      break;
    case cudaDevAttrComputeCapabilityMajor:
      *value = properties.major;
      break;
    case cudaDevAttrComputeCapabilityMinor:
      *value = properties.minor;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = static_cast<int>(properties.sharedMemPerBlockOptin);
      break;
    default:
      return remember(cudaErrorInvalidValue);
  }
  return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int* version) {
  *version = kVersion;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = kVersion;
  return cudaSuccess;
}

// ---- memory

namespace {
// Freeing memory waits for all that may use it.
cudaError_t finished_and_not_capturing() {
  const cudaError_t status = forbidden_while_capturing(cudaErrorStreamCaptureUnsupported);
  return status != cudaSuccess ? status : finish_all();
}
}  // namespace

cudaError_t cudaMalloc(void** pointer, std::size_t bytes) {
  if (const cudaError_t status = forbidden_while_capturing(cudaErrorStreamCaptureUnsupported);
      status != cudaSuccess)
    return status;
  return remember(allocate(pointer, bytes));
}
cudaError_t cudaFree(void* pointer) {
  const cudaError_t status = finished_and_not_capturing();
  return status != cudaSuccess ? status : remember(release(pointer));
}
cudaError_t cudaMallocHost(void** pointer, std::size_t bytes) {
  return cudaHostAlloc(pointer, bytes, cudaHostAllocDefault);
}
cudaError_t cudaHostAlloc(void** pointer, std::size_t bytes, unsigned) {
  if (const cudaError_t status = forbidden_while_capturing(cudaErrorStreamCaptureUnsupported);
      status != cudaSuccess)
    return status;
  return remember(allocate_pinned(pointer, bytes));
}
cudaError_t cudaFreeHost(void* pointer) {
  const cudaError_t status = finished_and_not_capturing();
  return status != cudaSuccess ? status : remember(release_pinned(pointer));
}
cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  *total = memory_limit();
  *free = *total - std::min(*total, memory_in_use());
  return cudaSuccess;
}

cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  return cudaMemcpyAsync(to, from, bytes, kind, nullptr);
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  if (const cudaError_t status = check_copy(to, from, bytes, kind); status != cudaSuccess)
    return remember(status);
  const auto copy = [=] {
    std::memmove(to, from, bytes);
    return cudaSuccess;
  };
  if (!strict() || stream == nullptr || is_capturing(stream)) return enqueue(stream, copy);
  // Memory that is not pinned is copied before the call returns: to the side on its way to the device.
  if (!is_device_address(from) && !find_pinned(from)) {
    const auto* begin = static_cast<const std::byte*>(from);
    return enqueue(stream, [to, aside = std::vector<std::byte>(begin, begin + bytes)] {
      std::memcpy(to, aside.data(), aside.size());
      return cudaSuccess;
    });
  }
  const cudaError_t status = enqueue(stream, copy);
  if (status != cudaSuccess || is_device_address(to) || find_pinned(to)) return status;
  return cudaStreamSynchronize(stream);
}
cudaError_t cudaMemset(void* to, int value, std::size_t bytes) {
  return cudaMemsetAsync(to, value, bytes, nullptr);
}
cudaError_t cudaMemsetAsync(void* to, int value, std::size_t bytes, cudaStream_t stream) {
  if (bytes != 0 && !in_device_memory(to, bytes)) return remember(cudaErrorInvalidValue);
  return enqueue(stream, [=] {
    std::memset(to, value, bytes);
    return cudaSuccess;
  });
}
