// The shared memory of a block. Kernels use no other: the emulation watches it.
#pragma once

#include "kernels/cuda/cuda_api.h"

namespace spqr::cuda {

// The block's LaunchShape::shared_bytes, 16-byte aligned; a kernel that needs several arrays passes a struct
// of them as T.
template <typename T>
__device__ __forceinline__ T* shared_memory() {
#if defined(SPQR_CUDA_EMULATED)
  return static_cast<T*>(emulation::shared_memory());
#else
  extern __shared__ __align__(16) unsigned char spqr_shared_bytes[];
  return reinterpret_cast<T*>(spqr_shared_bytes);
#endif
}

}  // namespace spqr::cuda
