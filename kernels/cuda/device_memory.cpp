#include "kernels/cuda/device_memory.h"

#include "kernels/cuda/check.h"

namespace spqr::cuda {

Buffer allocate_device_memory(std::size_t bytes) {
  void* memory = nullptr;
  check(cudaMalloc(&memory, aligned(bytes)), "taking memory");
  return {memory, bytes, [](void* owned) { cudaFree(owned); }};
}

void DeviceMemory::reserve(std::size_t bytes) {
  memory_ = allocate_device_memory(bytes);
  arena_ = Arena(static_cast<std::byte*>(memory_.data()), memory_.bytes());
}

Buffer DeviceMemory::allocate(std::size_t bytes) {
  if (std::byte* part = arena_.take(bytes)) return {part, bytes, [](void*) {}};
  return allocate_device_memory(bytes);
}

}  // namespace spqr::cuda
