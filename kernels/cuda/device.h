// The device that the backend runs on: found, judged, and opened.
#pragma once

#include <string>

#include "kernels/cuda/gpu.h"

namespace spqr::cuda {

inline constexpr int kLeastComputeCapability = 75;

// Why the first device cannot be used, one sentence; empty: it can.
std::string device_absence();

// The first device, with a stream of its own.
class Device {
 public:
  Device();
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;
  const Gpu& gpu() const { return gpu_; }

 private:
  Gpu gpu_;
};

// Bytes of device memory that are free.
std::size_t free_device_memory();

}  // namespace spqr::cuda
