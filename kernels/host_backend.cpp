#include "kernels/host_backend.h"

#include <cstring>

#include "kernels/host_memory.h"

namespace spqr {

Buffer HostBackend::allocate(std::size_t bytes) {
  return {allocate_host_memory(bytes).release(), bytes, [](void* owned) { FreeHostMemory{}(owned); }};
}

void HostBackend::upload(void* destination, const void* source, std::size_t bytes) {
  if (bytes != 0) std::memcpy(destination, source, bytes);  // an empty vector's data may be null
}

void HostBackend::download(void* destination, const void* source, std::size_t bytes) {
  if (bytes != 0) std::memcpy(destination, source, bytes);
}

}  // namespace spqr
