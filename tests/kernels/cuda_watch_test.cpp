// The emulation, watching every access of the same kernels.
#include <doctest/doctest.h>

#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/cuda/emulation/watch.h"
#include "kernels/cuda/launch.h"
#include "tests/kernels/cuda_array.h"
#include "tests/kernels/cuda_emulation_kernels.h"

namespace spqr::cuda {
namespace {

// What is reported, without the kernel's name; empty where nothing is.
std::string failure_of(const std::string& name) {
  std::vector<float> values(kCaseFloats);
  std::iota(values.begin(), values.end(), 0.0F);
  const Array<float> in(values);
  const Array<float> out(kCaseFloats);
  const std::string prefix = "kernel '" + name + "', ";
  try {
    run_case(name, {}, out.data(), in.data());
  } catch (const std::logic_error& error) {
    const std::string what = error.what();
    return what.starts_with(prefix) ? what.substr(prefix.size()) : what;
  }
  return {};
}

emulation::LaunchStatistics cost_of(const std::string& name) {
  CHECK(failure_of(name) == "");
  return emulation::last_launch_statistics();
}

TEST_CASE("watch: this program's kernels are watched") {
  CHECK(emulation::watched());
}

TEST_CASE("watch: races") {
  for (const char* right :
       {"exchange", "overwrite", "exchange_in_warp", "exchange_in_half_warp", "exchange_through_third",
        "exchange_in_device_memory", "counted", "sums", "copy_and_read"})
    CHECK(failure_of(right) == "");
  CHECK(failure_of("exchange_without_barrier") ==
        "block (0, 0, 0), thread (0, 0, 0): reads 4 bytes at offset 128 of shared memory that nobody has "
        "written");
  CHECK(failure_of("overwrite_without_barrier") ==
        "block (0, 0, 0), thread (0, 0, 0): reads 4 bytes at offset 252 of shared memory, a race: thread "
        "(63, 0, 0) has written them with no barrier between");
  CHECK(failure_of("exchange_in_warp_without_barrier") ==
        "block (0, 0, 0), thread (31, 0, 0): reads 4 bytes at offset 120 of shared memory, a race: thread "
        "(30, 0, 0) has written them with no barrier between");
  CHECK(
      failure_of("exchange_in_device_memory_without_barrier") ==
      "block (0, 0, 0), thread (1, 0, 0): reads 4 bytes at offset 0 of an allocation of 1024 bytes of device "
      "memory, a race: thread (0, 0, 0) has written them with no barrier between");
  CHECK(failure_of("exchange_across_half_warps") ==
        "block (0, 0, 0), thread (15, 0, 0): reads 4 bytes at offset 124 of shared memory that nobody has "
        "written");
  CHECK(failure_of("count_without_barrier") ==
        "block (0, 0, 0), thread (40, 0, 0): reads 4 bytes at offset 0 of shared memory, a race: thread "
        "(63, 0, 0) has written them with no barrier between");
}

TEST_CASE("watch: copies to shared memory that have not been waited for") {
  CHECK(failure_of("copy_without_wait") ==
        "block (0, 0, 0), thread (63, 0, 0): reads 4 bytes at offset 252 of shared memory that a copy of "
        "thread "
        "(15, 0, 0) is under way to");
  CHECK(failure_of("copy_without_barrier") != "");
  CHECK(failure_of("copy_too_early") != "");
}

TEST_CASE("watch: accesses where nothing is, or nothing has been written") {
  CHECK(failure_of("read_past_allocation") ==
        "block (0, 0, 0), thread (63, 0, 0): reads 4 bytes at offset 1024 of an allocation of 1024 bytes of "
        "device memory");
  CHECK(failure_of("write_before_allocation") ==
        "block (0, 0, 0), thread (0, 0, 0): writes 4 bytes 4 bytes before an allocation of 1024 bytes of "
        "device "
        "memory");
  CHECK(failure_of("read_null") == "block (0, 0, 0), thread (0, 0, 0): reads 4 bytes at a null pointer");
  CHECK(failure_of("read_past_shared") ==
        "block (0, 0, 0), thread (63, 0, 0): reads 4 bytes at offset 256 of shared memory of 256 bytes");
  CHECK(failure_of("write_before_shared") ==
        "block (0, 0, 0), thread (0, 0, 0): writes 4 bytes at offset -4 of shared memory of 256 bytes");
  CHECK(failure_of("read_unwritten_shared") ==
        "block (0, 0, 0), thread (8, 0, 0): reads 4 bytes at offset 36 of shared memory that nobody has "
        "written");
  CHECK(failure_of("misaligned").find("a misaligned access at cuda_emulation_kernels.cu:") !=
        std::string::npos);
  CHECK(failure_of("same_word_of_two_blocks").find("has written in the same launch") != std::string::npos);
}

TEST_CASE("watch: memory that has been freed") {
  const Array<float> out(kCaseFloats);
  float* freed = nullptr;
  check(cudaMalloc(&freed, kCaseFloats * sizeof(float)), "cudaMalloc");
  check(cudaFree(freed), "cudaFree");
  CHECK_THROWS_WITH_AS(
      run_case("exchange", {}, out.data(), freed),
      "kernel 'exchange', block (0, 0, 0), thread (0, 0, 0): reads 4 bytes of device memory that "
      "is not allocated",
      std::logic_error);
}

TEST_CASE("watch: bank conflicts") {
  // kernel, cycles beyond the first of each part of a warp that is served at once
  const std::vector<std::pair<std::string, int>> kernels = {
      {"shared_stride_1", 0},        {"shared_stride_2", 1},      {"shared_stride_31", 0},
      {"shared_stride_32", 31},      {"shared_broadcast", 0},     {"shared_vectors_of_16", 0},
      {"shared_vectors_of_128", 28}, {"shared_vectors_of_80", 0},
  };
  for (const auto& [name, conflicts] : kernels) {
    CAPTURE(name);
    CHECK(cost_of(name).bank_conflicts == conflicts);
  }
  CHECK(cost_of("shared_stride_32").shared_accesses == 1);
  CHECK(cost_of("shared_broadcast").shared_accesses == 2);
}

TEST_CASE("watch: sectors of device memory") {
  const emulation::LaunchStatistics coalesced = cost_of("global_stride_1");
  CHECK(coalesced.global_accesses == 1);
  CHECK(coalesced.global_sectors == 4);
  CHECK(coalesced.global_bytes_useful == 128);
  const emulation::LaunchStatistics strided = cost_of("global_stride_8");
  CHECK(strided.global_sectors == 32);
  CHECK(strided.global_bytes_useful == 128);
  const emulation::LaunchStatistics broadcast = cost_of("global_stride_0");
  CHECK(broadcast.global_sectors == 1);
  CHECK(broadcast.global_bytes_useful == 4);
}

}  // namespace
}  // namespace spqr::cuda
