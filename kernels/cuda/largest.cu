// The count largest of n logits, largest first, of equal ones the one with the smaller id; NaN is larger than
// all.
//   logits (n) f32   ids (count) i32, values (count) f32   scratch: largest_scratch_bytes(n)
// Reads 4 n bytes: of one token, latency-bound.
// Work split: rounds. A block takes kChunk keys and keeps its `count` largest, in order; the next round takes
// what was kept, until one block is left. Of one, a block needs no order and takes its maximum. A key holds
// value and id, so that no two are equal and any order of comparisons ends in the same.
#include <utility>

#include "kernels/cuda/device/reduce.cuh"
#include "kernels/cuda/device/shared_memory.cuh"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/operations.h"
#include "kernels/cuda/scratch_sizes.h"

namespace spqr::cuda {
namespace {

constexpr int kThreads = 512;
constexpr int kChunk = kLargestChunk;
constexpr std::uint32_t kSign = 0x80000000U;

// The logits' order in the high half, ~id in the low half. Less than all: 0.
using Key = unsigned long long;
static_assert(sizeof(Key) == sizeof(std::uint64_t));  // of largest_scratch_bytes()

__device__ __forceinline__ Key key_of(float value, std::uint32_t id) {
  std::uint32_t order = ~0U;  // NaN
  if (value == value) {
    const std::uint32_t bits = __float_as_uint(value + 0.0F);  // -0 is as large as 0
    order = (bits & kSign) != 0 ? ~bits : bits | kSign;
  }
  return (static_cast<Key>(order) << 32U) | ~id;
}

// The first round's keys are of logits, the others' those that the round before kept.
struct Source {
  const float* logits;
  const Key* keys;  // null in the first round
  std::int64_t count;
};

__device__ __forceinline__ Key load_key(const Source& from, std::int64_t i) {
  if (i >= from.count) return 0;
  return from.keys != nullptr ? from.keys[i] : key_of(from.logits[i], static_cast<std::uint32_t>(i));
}

// Where keys go: to the next round, or in the last one to the caller.
struct Sink {
  Key* keys;  // null in the last round
  std::int32_t* ids;
  float* values;
};

__device__ __forceinline__ void store_key(const Sink& to, const float* logits, std::int64_t i, Key key) {
  if (to.keys != nullptr) {
    to.keys[i] = key;
  } else {
    const std::uint32_t id = ~static_cast<std::uint32_t>(key);
    to.ids[i] = static_cast<std::int32_t>(id);
    to.values[i] = logits[id];
  }
}

__device__ __forceinline__ Key warp_largest(Key key) {
  for (int step = kWarpLanes / 2; step > 0; step /= 2) {
    const Key other = __shfl_xor_sync(kWholeWarp, key, step);
    key = other > key ? other : key;
  }
  return key;
}

__global__ void __launch_bounds__(kThreads) largest_one_kernel(Sink to, Source from) {
  const std::int64_t begin = static_cast<std::int64_t>(blockIdx.x) * kChunk + threadIdx.x;
  const int lane = static_cast<int>(threadIdx.x) % kWarpLanes;
  constexpr int kWarps = kThreads / kWarpLanes;
  Key largest = 0;
#pragma unroll
  for (int i = 0; i < kChunk; i += kThreads) {
    const Key key = load_key(from, begin + i);
    largest = key > largest ? key : largest;
  }
  auto* of_warps = shared_memory<Key>();
  largest = warp_largest(largest);
  if (lane == 0) of_warps[threadIdx.x / kWarpLanes] = largest;
  __syncthreads();
  if (threadIdx.x < kWarpLanes) {
    largest = warp_largest(lane < kWarps ? of_warps[lane] : 0);
    if (lane == 0) store_key(to, from.logits, blockIdx.x, largest);
  }
}

// Bitonic sort, largest first; begins and ends with a barrier.
__device__ __forceinline__ void sort_chunk(Key* keys) {
  __syncthreads();
  for (int run = 2; run <= kChunk; run *= 2) {
    for (int stride = run / 2; stride > 0; stride /= 2) {
      for (int pair = static_cast<int>(threadIdx.x); pair < kChunk / 2; pair += kThreads) {
        const int low = 2 * pair - (pair & (stride - 1));
        const int high = low + stride;
        const bool descending = (low & run) == 0;
        const Key a = keys[low];
        const Key b = keys[high];
        if ((a < b) == descending) {
          keys[low] = b;
          keys[high] = a;
        }
      }
      __syncthreads();
    }
  }
}

__global__ void __launch_bounds__(kThreads) largest_kernel(Sink to, Source from, int count) {
  auto* keys = shared_memory<Key>();
  const std::int64_t begin = static_cast<std::int64_t>(blockIdx.x) * kChunk;
  for (int i = static_cast<int>(threadIdx.x); i < kChunk; i += kThreads) keys[i] = load_key(from, begin + i);
  sort_chunk(keys);
  const std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * count;
  for (int i = static_cast<int>(threadIdx.x); i < count; i += kThreads)
    store_key(to, from.logits, first + i, keys[i]);
}

}  // namespace

void largest(const Gpu& gpu, std::int32_t* ids, float* values, Matrix logits, std::int64_t count,
             void* scratch) {
  auto* kept = static_cast<Key*>(scratch);
  Key* next = kept + ceil_div(logits.cols, kChunk) * count;
  Source from = {logits.data, nullptr, logits.cols};
  for (bool last = false; !last;) {
    const std::int64_t blocks = ceil_div(from.count, kChunk);
    last = blocks == 1;
    const Sink to = last ? Sink{nullptr, ids, values} : Sink{kept, nullptr, nullptr};
    const dim3 grid(static_cast<unsigned>(blocks));
    if (count == 1) {
      launch(gpu, "largest_one", largest_one_kernel,
             {grid, dim3(kThreads), kThreads / kWarpLanes * sizeof(Key)}, to, from);
    } else {
      launch(gpu, "largest", largest_kernel, {grid, dim3(kThreads), kChunk * sizeof(Key)}, to, from, count);
    }
    from.keys = kept;
    from.count = blocks * count;
    std::swap(kept, next);
  }
}

}  // namespace spqr::cuda
