// The sum of the words of an array: what reading memory takes, and nothing else.
//   words (4 vectors) u32   sums (blocks) u32: of each block what its threads have read, modulo 2^32
// Reads 16 vectors bytes: bandwidth-bound.
// Work split: threads of all blocks take turns with 16 bytes, kInFlight of them at once.
#include "kernels/cuda/bandwidth.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <new>
#include <numeric>
#include <stdexcept>
#include <vector>

#include "kernels/cuda/device/reduce.cuh"
#include "kernels/cuda/device/shared_memory.cuh"
#include "kernels/cuda/device_memory.h"
#include "kernels/cuda/launch.h"

namespace spqr::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kBlocksPerMultiprocessor = 8;  // that fit it at a time
constexpr int kInFlight = 4;
constexpr int kPasses = 3;
// Of L2 caches, so that hardly anything that is read has been read shortly before.
constexpr std::size_t kCaches = 64;
constexpr std::size_t kMost = std::size_t{1} << 30U;
constexpr std::uint32_t kFilled = 0x01010101;  // every byte alike

__global__ void __launch_bounds__(kThreads)
    sum_words_kernel(std::uint32_t* sums, const uint4* words, std::int64_t vectors) {
  const std::int64_t stride = static_cast<std::int64_t>(gridDim.x) * kThreads;
  std::int64_t at = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  std::uint32_t sum = 0;
  for (; at + (kInFlight - 1) * stride < vectors; at += kInFlight * stride) {
    uint4 read[kInFlight];
#pragma unroll
    for (int k = 0; k < kInFlight; ++k) read[k] = words[at + k * stride];
#pragma unroll
    for (int k = 0; k < kInFlight; ++k) sum += read[k].x + read[k].y + read[k].z + read[k].w;
  }
  for (; at < vectors; at += stride) sum += words[at].x + words[at].y + words[at].z + words[at].w;

  for (int step = kWarpLanes / 2; step > 0; step /= 2) sum += __shfl_xor_sync(kWholeWarp, sum, step);
  auto* of_warps = shared_memory<std::uint32_t>();
  if (threadIdx.x % kWarpLanes == 0) of_warps[threadIdx.x / kWarpLanes] = sum;
  __syncthreads();
  if (threadIdx.x != 0) return;
  sum = 0;
  for (int warp = 0; warp < kThreads / kWarpLanes; ++warp) sum += of_warps[warp];
  sums[blockIdx.x] = sum;
}

class Event {
 public:
  Event() { check(cudaEventCreate(&event_), "making an event"); }
  ~Event() { cudaEventDestroy(event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  void record(const Gpu& gpu) { check(cudaEventRecord(event_, gpu.stream), "timing"); }
  // Seconds from `begin` to this one, which have both been reached.
  double since(const Event& begin) const {
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, begin.event_, event_), "timing");
    return milliseconds / 1e3;
  }

 private:
  cudaEvent_t event_ = nullptr;
};

// As large as it should be, or as there is memory for; nothing where that is too little.
std::optional<Buffer> memory_to_read(std::size_t cache_bytes) {
  for (std::size_t bytes = std::min(kCaches * cache_bytes, kMost); bytes > 2 * cache_bytes; bytes /= 2) {
    try {
      return allocate_device_memory(bytes);
    } catch (const std::bad_alloc&) {
      continue;
    }
  }
  return std::nullopt;
}

// What reading all of `memory` takes, of the best of several passes.
double seconds_to_read(const Gpu& gpu, const Buffer& memory) {
  const std::int64_t blocks = std::int64_t{gpu.multiprocessors} * kBlocksPerMultiprocessor;
  std::vector<std::uint32_t> sums(static_cast<std::size_t>(blocks));
  const std::size_t sums_bytes = sums.size() * sizeof(std::uint32_t);
  const Buffer device_sums = allocate_device_memory(sums_bytes);
  const auto vectors = static_cast<std::int64_t>(memory.bytes() / sizeof(uint4));
  Event begin;
  Event end;
  double best = std::numeric_limits<double>::infinity();
  for (int pass = 0; pass < kPasses; ++pass) {
    begin.record(gpu);
    launch(
        gpu, "sum_words", sum_words_kernel,
        {dim3(static_cast<unsigned>(blocks)), dim3(kThreads), kThreads / kWarpLanes * sizeof(std::uint32_t)},
        static_cast<std::uint32_t*>(device_sums.data()), static_cast<const uint4*>(memory.data()), vectors);
    end.record(gpu);
    check(cudaMemcpyAsync(sums.data(), device_sums.data(), sums_bytes, cudaMemcpyDeviceToHost, gpu.stream),
          "copying from the device");
    check(cudaStreamSynchronize(gpu.stream), "reading memory");
    best = std::min(best, end.since(begin));
    if (std::accumulate(sums.begin(), sums.end(), 0U) != static_cast<std::uint32_t>(4 * vectors) * kFilled)
      throw std::runtime_error("memory of the GPU does not hold what it was filled with: is it broken?");
  }
  return best;
}

}  // namespace

std::optional<double> read_bandwidth(const Gpu& gpu) {
  const std::optional<Buffer> memory = memory_to_read(gpu.cache_bytes);
  if (!memory) return std::nullopt;
  check(cudaMemsetAsync(memory->data(), kFilled & 0xFFU, memory->bytes(), gpu.stream), "filling memory");
  return static_cast<double>(memory->bytes()) / seconds_to_read(gpu, *memory);
}

}  // namespace spqr::cuda
