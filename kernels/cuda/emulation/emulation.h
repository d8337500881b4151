// What the emulation offers beyond CUDA: launches of kernels without <<<>>>, and control over the device that
// is emulated, for tests.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <type_traits>

#include "kernels/cuda/emulation/runtime_api.h"
#include "kernels/cuda/emulation/vector_types.h"

namespace spqr::emulation {

struct LaunchInfo {
  const char* name;  // must outlive what is recorded of the launch
  dim3 grid;
  dim3 block;
  std::size_t shared_bytes;
  cudaStream_t stream;
};

// Runs kernel() for every thread of the grid, the blocks shared among the threads of kernels/threads.h; where
// the stream is being captured, records it instead. Returns an error where CUDA would refuse the launch, and
// throws std::logic_error for what a kernel does wrong.
cudaError_t launch(const LaunchInfo& info, std::function<void()> kernel);

// Bytes that the device has; 24 GiB, or environment variable SPQR_EMULATED_DEVICE_MEMORY ("24GiB",
// "512MiB", or bytes). Allocations that do not fit are refused as on a device.
void set_memory_limit(std::size_t bytes);
std::size_t memory_in_use();
std::size_t memory_high_water_mark();
void reset_memory_high_water_mark();
// Throws std::logic_error where a byte around a device allocation has been written. Every launch does this
// when it ends.
void check_memory();

// Strict: work is done as late as CUDA may do it, when something waits for it, code of the host that reads or
// writes device memory crashes, and a graph records only kernels that have been launched before (a kernel is
// loaded when it first is, for which CUDA may need what it does not allow meanwhile). On where kernels are
// watched (watch.h) and with environment variable SPQR_EMULATED_STRICT=1, otherwise off. May be changed while
// no work is queued.
void set_strict(bool strict);
bool strict();
// As if none had been launched yet.
void forget_kernels();

// Of a kernel's argument: throws std::logic_error where it points to memory of the host that is not pinned.
void check_argument(const char* kernel, const void* pointer);
template <typename T>
void check_argument(const char* kernel, const T& argument) {
  if constexpr (std::is_pointer_v<T>) check_argument(kernel, static_cast<const void*>(argument));
}

// 10 major + minor; 80, or environment variable SPQR_EMULATED_COMPUTE_CAPABILITY.
void set_compute_capability(int capability);
int compute_capability();

// What the last launch that has ended did to memory; of watched kernels only (watch.h), otherwise zeros.
struct LaunchStatistics {
  std::int64_t shared_accesses = 0;      // instructions of warps that access shared memory
  std::int64_t bank_conflicts = 0;       // cycles that they take beyond what they had to
  std::int64_t global_accesses = 0;      // instructions of warps that access device memory
  std::int64_t global_sectors = 0;       // of 32 bytes, that these touch; of each instruction
  std::int64_t global_bytes_useful = 0;  // bytes of these sectors that are asked for
};
LaunchStatistics last_launch_statistics();

}  // namespace spqr::emulation
