// Memory of one device: an arena that was taken at once, and single allocations where there is none or it is
// full.
#pragma once

#include <cstddef>

#include "kernels/backend.h"
#include "kernels/cuda/arena.h"

namespace spqr::cuda {

// Its own allocation; freed with it. Throws std::bad_alloc.
Buffer allocate_device_memory(std::size_t bytes);

class DeviceMemory {
 public:
  // From now on allocate() gives out parts of one allocation of so many bytes, as long as they last. Throws
  // std::bad_alloc.
  void reserve(std::size_t bytes);
  // Parts of the arena are not given back before it is freed.
  Buffer allocate(std::size_t bytes);

 private:
  Buffer memory_;
  Arena arena_;
};

}  // namespace spqr::cuda
