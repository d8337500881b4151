// The memory of the emulated device. All of it lies in one range of addresses, so that a pointer tells
// whether it is of the device; every allocation has bytes around it that must not be written, and pages that
// cannot be accessed around these. Addresses of what has been freed are not used again soon, and cannot be
// accessed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "kernels/cuda/emulation/runtime_api.h"

namespace spqr::emulation {

struct Allocation {
  std::uintptr_t begin = 0;
  std::size_t bytes = 0;
};

inline constexpr std::size_t kDeviceRange = std::size_t{1} << 38U;  // bytes of addresses that it has

cudaError_t allocate(void** pointer, std::size_t bytes);
cudaError_t release(void* pointer);
cudaError_t allocate_pinned(void** pointer, std::size_t bytes);
cudaError_t release_pinned(void* pointer);

// Whether the address is one that device memory may have, allocated or not.
bool is_device_address(const void* pointer);
// The allocation that holds the address; also of pinned memory for the second.
std::optional<Allocation> find_allocation(const void* pointer);
std::optional<Allocation> find_pinned(const void* pointer);

// All that there are, by address.
std::vector<Allocation> allocations();
// From the beginning of the device's range of addresses.
std::size_t device_offset(std::uintptr_t address);

std::size_t memory_limit();

// While there is one, device memory can be accessed; otherwise not, with strict().
class DeviceAccess {
 public:
  DeviceAccess();
  DeviceAccess(const DeviceAccess&) = delete;
  DeviceAccess& operator=(const DeviceAccess&) = delete;
  ~DeviceAccess();
};

// As check_memory() of emulation.h; `doing` stands before the sentence.
void check_memory(const std::string& doing);

// "24GiB", "512MiB", "1000000" -> bytes; nothing where it is neither.
std::optional<std::size_t> parse_bytes(const std::string& text);

}  // namespace spqr::emulation
