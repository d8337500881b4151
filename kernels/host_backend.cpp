#include "kernels/host_backend.h"

#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>

namespace spqr {

Buffer HostBackend::allocate(std::size_t bytes) {
  constexpr std::size_t kAlignment = 64;
  if (bytes > std::numeric_limits<std::size_t>::max() - kAlignment) throw std::bad_alloc();
  const std::size_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  void* memory = std::aligned_alloc(kAlignment, rounded == 0 ? kAlignment : rounded);
  if (memory == nullptr) throw std::bad_alloc();
  return {memory, bytes, [](void* owned) { std::free(owned); }};
}

void HostBackend::upload(void* destination, const void* source, std::size_t bytes) {
  if (bytes != 0) std::memcpy(destination, source, bytes);  // an empty vector's data may be null
}

void HostBackend::download(void* destination, const void* source, std::size_t bytes) {
  if (bytes != 0) std::memcpy(destination, source, bytes);
}

}  // namespace spqr
