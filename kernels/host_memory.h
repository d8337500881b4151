// Memory of weights, caches and activations on the host.
#pragma once

#include <cstddef>
#include <memory>

namespace spqr {

struct FreeHostMemory {
  void operator()(void* memory) const;
};
using HostMemory = std::unique_ptr<void, FreeHostMemory>;

// 64-byte aligned; on huge pages where the system has them and `bytes` are several: what is read from end to
// end loses a third of the time to finding pages of 4 KB. Contents are undefined. Throws std::bad_alloc.
HostMemory allocate_host_memory(std::size_t bytes);

}  // namespace spqr
