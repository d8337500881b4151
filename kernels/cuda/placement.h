// Weights in host memory to weights in device memory: what is taken for them, and in which order.
#pragma once

#include <cstddef>

#include "kernels/backend.h"
#include "kernels/linear.h"

namespace spqr::cuda {

// Device memory that is taken and filled, or only counted.
class WeightStore {
 public:
  virtual ~WeightStore() = default;
  // 256-byte aligned. Throws std::bad_alloc.
  virtual std::byte* take(std::size_t bytes) = 0;
  virtual void fill(std::byte* destination, const void* source, std::size_t bytes) = 0;
  // From the file's layout to the device's (spqr_device_layout.h).
  virtual void fill_packed(std::byte* destination, const SpqrMatrix& source) = 0;
};

// The same weights with all pointers in `store`. A packed matrix is in the device's layout then.
Linear place(WeightStore& store, const Linear& weight);
Norm place(WeightStore& store, const Norm& norm);
LinearGroup place(WeightStore& store, const LinearGroup& group);
Rope place(WeightStore& store, const Rope& rope);

}  // namespace spqr::cuda
