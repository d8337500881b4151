// What the kernel's control groups let a process use.   Source: cgroups(7), proc(5); Linux,
// Documentation/admin-guide/cgroup-v1/memory.rst and cgroup-v2.rst
#pragma once

#include <cstddef>
#include <filesystem>

namespace spqr {

// Bytes of memory that the process may still take: the least of what its group and the groups around it
// leave, version 1 and 2; the largest number where none has a limit. Pages of files count as free: they give
// way. `proc`: the process's own directory.
std::size_t control_group_available(const std::filesystem::path& proc = "/proc/self");

}  // namespace spqr
