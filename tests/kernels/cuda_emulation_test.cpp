// The emulation of a GPU: what kernels may rely on, what it refuses, its memory, streams and graphs.
#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <new>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/cuda/launch.h"
#include "kernels/threads.h"
#include "tests/kernels/cuda_array.h"
#include "tests/kernels/cuda_emulation_kernels.h"

namespace spqr::cuda {
namespace {

std::vector<float> counting() {
  std::vector<float> values(kCaseFloats);
  std::iota(values.begin(), values.end(), 0.0F);
  return values;
}

std::vector<float> results_of(std::string_view name) {
  const Array<float> in(counting());
  const Array<float> out(kCaseFloats);
  run_case(name, {}, out.data(), in.data());
  return out.values();
}

// What is reported; empty where nothing is.
std::string failure_of(std::string_view name) {
  try {
    results_of(name);
  } catch (const std::logic_error& error) {
    return error.what();
  }
  return {};
}

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

TEST_CASE("emulation: shuffles") {
  const std::vector<float> out = results_of("shuffles");
  for (int t = 0; t < 64; ++t) {
    const int warp = t / 32 * 32;
    const int lane = t % 32;
    const auto at = [&](int part) { return out[static_cast<std::size_t>(64 * part + t)]; };
    CHECK(at(0) == static_cast<float>(warp + 3 + 100 * (t / 8 * 8 + 1)));
    CHECK(at(1) == static_cast<float>((lane < 2 ? t : t - 2) + 100 * (t % 4 == 0 ? t : t - 1)));
    CHECK(at(2) == static_cast<float>((lane > 29 ? t : t + 2) + 100 * (t % 4 == 3 ? t : t + 1)));
    // Parts of 4 lanes: later parts are out of reach, earlier ones are not.
    CHECK(at(3) == static_cast<float>((t ^ 5) + 100 * (t % 8 < 4 ? t : t - 4)));
  }
}

TEST_CASE("emulation: votes of parts of a warp, sums of a block, atomics, indices") {
  const std::vector<float> votes = results_of("votes");
  CHECK(votes[0] == 6);  // lanes 10 .. 15
  CHECK(votes[16] == 11);
  CHECK(votes[32] == 16);
  const std::vector<float> sums = results_of("sums");
  for (int t = 0; t < 64; ++t) CHECK(sums[static_cast<std::size_t>(t)] == 2016);
  CHECK(results_of("counted")[17] == 63128);
  const std::vector<float> indices = results_of("indices");
  CHECK(indices[0] == 0);
  CHECK(indices[32 * 7 + 31] == 111000133);
  CHECK(indices[32 * 2 + 6] == 10000012);
}

TEST_CASE("emulation: threads of the process share the blocks, and the results are the same") {
  for (const int count : {1, 2, 5}) {
    set_threads(count);
    for (int i = 0; i < 20; ++i) CHECK(results_of("indices")[32 * 7 + 31] == 111000133);
    CHECK(contains(failure_of("barrier_not_reached"), "divergent"));
  }
  set_threads(0);
}

TEST_CASE("emulation: threads that wait for what does not come") {
  CHECK(
      contains(failure_of("barrier_not_reached"),
               "kernel 'barrier_not_reached', block (0, 0, 0), thread (0, 0, 0): divergent __syncthreads at "
               "cuda_emulation_kernels.cu:"));
  CHECK(contains(failure_of("barrier_not_reached"), "thread (5, 0, 0) has ended"));
  CHECK(contains(failure_of("different_barriers"), "while other threads wait at the one at"));
  CHECK(contains(failure_of("shuffle_not_reached"), "thread (32, 0, 0): divergent __shfl_xor_sync"));
  CHECK(contains(failure_of("shuffle_not_reached"), "thread (37, 0, 0) has ended"));
  CHECK(contains(failure_of("shuffle_beside_barrier"), "thread (16, 0, 0) waits at __syncthreads"));
  CHECK(contains(failure_of("different_shuffles"), "waits at __shfl_down_sync"));
  CHECK(contains(failure_of("mask_without_lane"), "a mask that lacks the lane itself"));
  CHECK(contains(failure_of("mask_of_missing_lanes"), "names lane 16, which the warp does not have"));
  CHECK(contains(failure_of("reads_unnamed_lane"), "a lane that its mask does not name"));
  CHECK(failure_of("exchange").empty());
}

TEST_CASE("emulation: bytes around allocations and shared memory") {
  CHECK(contains(failure_of("write_past_allocation"), "of 1024 bytes"));
  CHECK(contains(failure_of("write_before_allocation"), "before an allocation of 1024 bytes"));
  CHECK(contains(failure_of("write_past_shared"), "shared memory"));
  CHECK(contains(failure_of("write_before_shared"), "shared memory"));
  CHECK(contains(failure_of("misaligned_stream"), "not aligned to 16"));
  emulation::check_memory();

  const bool strict = emulation::strict();
  emulation::set_strict(false);
  const Array<unsigned char> bytes(100);
  CHECK(bytes.data()[99] == 0xFF);
  bytes.data()[100] = 1;
  CHECK_THROWS_WITH(emulation::check_memory(),
                    "device memory: byte 0 past an allocation of 100 bytes has been written");
  emulation::check_memory();
  emulation::set_strict(strict);
}

TEST_CASE("emulation: pointers that are not of the device") {
  std::vector<float> host(kCaseFloats);
  const Array<float> out(kCaseFloats);
  CHECK_THROWS_WITH_AS(run_case("sums", {}, out.data(), host.data()),
                       "kernel 'sums': an argument points to memory of the host", std::logic_error);
  float* pinned = nullptr;
  check(cudaMallocHost(&pinned, kCaseFloats * sizeof(float)), "cudaMallocHost");
  std::fill_n(pinned, kCaseFloats, 1.0F);
  run_case("sums", {}, out.data(), pinned);
  CHECK(out.values()[0] == 64);
  check(cudaFreeHost(pinned), "cudaFreeHost");
  CHECK(cudaFreeHost(pinned) == cudaErrorInvalidValue);
  CHECK(cudaFree(host.data()) == cudaErrorInvalidValue);
  cudaGetLastError();
}

TEST_CASE("emulation: launches that CUDA refuses") {
  for (const char* name : {"no_blocks", "no_threads", "too_many_threads", "too_much_shared_memory"}) {
    CHECK_THROWS(results_of(name));
  }
  CHECK(emulation::launch({"none", dim3(0), dim3(1), 0, nullptr}, [] {}) == cudaErrorInvalidConfiguration);
  CHECK(cudaGetLastError() == cudaErrorInvalidConfiguration);
  CHECK(cudaGetLastError() == cudaSuccess);
}

TEST_CASE("emulation: a limit plays the device's memory") {
  const std::size_t before = emulation::memory_in_use();
  emulation::set_memory_limit(before + 1000);
  emulation::reset_memory_high_water_mark();
  {
    const Array<char> first(500);  // 512, as allocations are multiples of 256 bytes
    CHECK(emulation::memory_in_use() == before + 512);
    std::size_t free = 0;
    std::size_t total = 0;
    CHECK(cudaMemGetInfo(&free, &total) == cudaSuccess);
    CHECK(free == 488);
    CHECK(total == before + 1000);
    CHECK_THROWS_AS(Array<char>(489), std::bad_alloc);
  }
  CHECK(emulation::memory_in_use() == before);
  CHECK(emulation::memory_high_water_mark() == before + 512);
  emulation::set_memory_limit(std::size_t{24} << 30U);
  void* too_much = nullptr;
  CHECK(cudaMalloc(&too_much, std::size_t{25} << 30U) == cudaErrorMemoryAllocation);
  CHECK(too_much == nullptr);
  CHECK(cudaGetLastError() == cudaErrorMemoryAllocation);
}

TEST_CASE("emulation: copies must lie in one allocation, and be what they say") {
  const Array<float> device(10);
  std::vector<float> host(20);
  CHECK(cudaMemcpy(device.data(), host.data(), 40, cudaMemcpyHostToDevice) == cudaSuccess);
  CHECK(cudaMemcpy(device.data(), host.data(), 41, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
  CHECK(cudaMemcpy(host.data(), device.data(), 40, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
  CHECK(cudaMemcpy(host.data(), device.data(), 40, cudaMemcpyDefault) == cudaSuccess);
  CHECK(cudaMemset(device.data() + 5, 1, 21) == cudaErrorInvalidValue);
  CHECK(cudaMemset(device.data() + 5, 1, 20) == cudaSuccess);
  CHECK(std::string(cudaGetErrorName(cudaGetLastError())) == "cudaErrorInvalidValue");
  CHECK(std::bit_cast<unsigned>(device.values()[5]) == 0x01010101);
}

TEST_CASE("emulation: the device, events") {
  int count = 0;
  CHECK(cudaGetDeviceCount(&count) == cudaSuccess);
  CHECK(count == 1);
  CHECK(cudaSetDevice(1) == cudaErrorInvalidDevice);
  CHECK(cudaGetLastError() == cudaErrorInvalidDevice);
  emulation::set_compute_capability(75);
  cudaDeviceProp properties;
  CHECK(cudaGetDeviceProperties(&properties, 0) == cudaSuccess);
  CHECK(properties.major == 7);
  CHECK(properties.minor == 5);
  emulation::set_compute_capability(80);
  cudaEvent_t start = nullptr;
  cudaEvent_t end = nullptr;
  float milliseconds = -1;
  CHECK(cudaEventCreate(&start) == cudaSuccess);
  CHECK(cudaEventCreate(&end) == cudaSuccess);
  CHECK(cudaEventElapsedTime(&milliseconds, start, end) == cudaErrorInvalidResourceHandle);
  CHECK(cudaEventRecord(start) == cudaSuccess);
  CHECK(cudaEventRecord(end) == cudaSuccess);
  CHECK(cudaEventSynchronize(end) == cudaSuccess);
  CHECK(cudaEventElapsedTime(&milliseconds, start, end) == cudaSuccess);
  CHECK(milliseconds >= 0);
  cudaEventDestroy(start);
  cudaEventDestroy(end);
  cudaGetLastError();
}

struct Streams {
  cudaStream_t main = nullptr;
  cudaStream_t side = nullptr;
  cudaEvent_t event = nullptr;
  Streams() {
    check(cudaStreamCreateWithFlags(&main, cudaStreamNonBlocking), "cudaStreamCreate");
    check(cudaStreamCreateWithFlags(&side, cudaStreamNonBlocking), "cudaStreamCreate");
    check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "cudaEventCreate");
  }
  Streams(const Streams&) = delete;
  Streams& operator=(const Streams&) = delete;
  ~Streams() {
    cudaEventDestroy(event);
    cudaStreamDestroy(side);
    cudaStreamDestroy(main);
  }
};

TEST_CASE("emulation: strictly, work is done when it is waited for") {
  const bool strict_before = emulation::strict();
  emulation::set_strict(true);
  {
    const Streams streams;
    const Array<float> device(std::vector<float>(2, 0.0F));
    float* pinned = nullptr;
    check(cudaMallocHost(&pinned, 8), "cudaMallocHost");
    // What is in pinned memory when the copy is done counts, of other memory what was there at the call.
    pinned[0] = 1;
    float pageable = 1;
    CHECK(cudaMemcpyAsync(device.data(), pinned, 4, cudaMemcpyHostToDevice, streams.main) == cudaSuccess);
    CHECK(cudaMemcpyAsync(device.data() + 1, &pageable, 4, cudaMemcpyHostToDevice, streams.main) ==
          cudaSuccess);
    pinned[0] = pageable = 2;
    CHECK(cudaEventRecord(streams.event, streams.main) == cudaSuccess);
    CHECK(cudaMemsetAsync(device.data() + 1, 0, 4, streams.main) == cudaSuccess);
    CHECK(device.values() == std::vector<float>{0, 0});  // the default stream does not wait for this one
    CHECK(cudaEventSynchronize(streams.event) == cudaSuccess);
    CHECK(device.values() == std::vector<float>{2, 1});
    CHECK(cudaStreamSynchronize(streams.main) == cudaSuccess);
    CHECK(device.values() == std::vector<float>{2, 0});

    // A stream waits for what was recorded in another one, and for that only.
    CHECK(cudaMemsetAsync(device.data(), 0, 4, streams.main) == cudaSuccess);
    CHECK(cudaEventRecord(streams.event, streams.main) == cudaSuccess);
    CHECK(cudaMemsetAsync(device.data() + 1, 0xFF, 4, streams.main) == cudaSuccess);
    CHECK(cudaStreamWaitEvent(streams.side, streams.event) == cudaSuccess);
    CHECK(cudaMemcpyAsync(pinned, device.data(), 8, cudaMemcpyDeviceToHost, streams.side) == cudaSuccess);
    CHECK(pinned[0] == 2);
    CHECK(cudaStreamSynchronize(streams.side) == cudaSuccess);
    CHECK(pinned[0] == 0);
    CHECK(pinned[1] == 0);
    // Memory that is not pinned has it when the call returns.
    CHECK(cudaMemcpyAsync(&pageable, device.data(), 4, cudaMemcpyDeviceToHost, streams.side) == cudaSuccess);
    CHECK(pageable == 0);

    // What a kernel does wrong is reported to whoever waits.
    Gpu gpu;
    gpu.stream = streams.main;
    const Array<float> out(kCaseFloats);
    run_case("barrier_not_reached", gpu, out.data(), out.data());
    CHECK_THROWS_AS(cudaStreamSynchronize(streams.main), std::logic_error);
    CHECK(cudaStreamSynchronize(streams.main) == cudaSuccess);
    check(cudaFreeHost(pinned), "cudaFreeHost");
  }
  emulation::set_strict(strict_before);
}

TEST_CASE("emulation: a captured graph does its work when it is launched, as often as it is") {
  const Streams streams;
  const Array<float> in(counting());
  const Array<float> out(std::vector<float>(kCaseFloats, 0.0F));
  const Array<float> copy(std::vector<float>(kCaseFloats, 0.0F));
  Gpu gpu;
  gpu.stream = streams.main;
  CHECK(cudaStreamBeginCapture(streams.main, cudaStreamCaptureModeGlobal) == cudaSuccess);
  run_case("sums", gpu, out.data(), in.data());
  CHECK(cudaEventRecord(streams.event, streams.main) == cudaSuccess);
  CHECK(cudaStreamWaitEvent(streams.side, streams.event) == cudaSuccess);
  CHECK(cudaMemcpyAsync(copy.data(), out.data(), 16, cudaMemcpyDeviceToDevice, streams.side) == cudaSuccess);
  CHECK(cudaEventRecord(streams.event, streams.side) == cudaSuccess);
  CHECK(cudaStreamWaitEvent(streams.main, streams.event) == cudaSuccess);
  cudaGraph_t graph = nullptr;
  CHECK(cudaStreamEndCapture(streams.main, &graph) == cudaSuccess);
  cudaGraphExec_t executable = nullptr;
  CHECK(cudaGraphInstantiate(&executable, graph) == cudaSuccess);
  CHECK(cudaGraphDestroy(graph) == cudaSuccess);
  CHECK(out.values()[0] == 0);

  CHECK(cudaGraphLaunch(executable, streams.main) == cudaSuccess);
  CHECK(cudaStreamSynchronize(streams.main) == cudaSuccess);
  CHECK(out.values()[0] == 2016);
  CHECK(copy.values()[3] == 2016);
  CHECK(copy.values()[4] == 0);
  check(cudaMemset(in.data(), 0, 256), "cudaMemset");
  CHECK(cudaGraphLaunch(executable, streams.main) == cudaSuccess);
  CHECK(cudaStreamSynchronize(streams.main) == cudaSuccess);
  CHECK(out.values()[0] == 0);
  CHECK(cudaGraphExecDestroy(executable) == cudaSuccess);
}

TEST_CASE("emulation: what CUDA forbids while a stream is captured ends the capture") {
  const auto end_of_capture_after = [](auto&& forbidden) {
    const Streams streams;
    CHECK(cudaStreamBeginCapture(streams.main, cudaStreamCaptureModeGlobal) == cudaSuccess);
    CHECK(forbidden(streams) != cudaSuccess);
    cudaGraph_t graph = nullptr;
    const cudaError_t status = cudaStreamEndCapture(streams.main, &graph);
    CHECK(graph == nullptr);
    cudaGetLastError();
    return status;
  };
  float* pointer = nullptr;
  const Array<float> array(1);
  CHECK(end_of_capture_after([&](const Streams&) { return cudaMalloc(&pointer, 4); }) ==
        cudaErrorStreamCaptureInvalidated);
  CHECK(end_of_capture_after([&](const Streams& s) { return cudaStreamSynchronize(s.main); }) ==
        cudaErrorStreamCaptureInvalidated);
  CHECK(end_of_capture_after([&](const Streams&) { return cudaDeviceSynchronize(); }) ==
        cudaErrorStreamCaptureInvalidated);
  CHECK(end_of_capture_after([&](const Streams&) { return cudaMemset(array.data(), 0, 4); }) ==
        cudaErrorStreamCaptureInvalidated);
  CHECK(cudaMalloc(&pointer, 4) == cudaSuccess);
  CHECK(cudaFree(pointer) == cudaSuccess);
  cudaGraph_t graph = nullptr;
  const Streams streams;
  CHECK(cudaStreamEndCapture(streams.main, &graph) == cudaErrorInvalidValue);
  cudaGetLastError();
}

}  // namespace
}  // namespace spqr::cuda
