#include "tests/kernels/cuda_emulation_kernels.h"

#include <stdexcept>
#include <string>

#include "kernels/cuda/device/instructions.cuh"
#include "kernels/cuda/device/reduce.cuh"
#include "kernels/cuda/device/shared_memory.cuh"
#include "kernels/cuda/launch.h"

namespace spqr::cuda {
namespace {

constexpr int kThreads = 64;
constexpr std::size_t kSharedBytes = kThreads * sizeof(float);

// ---- what threads tell each other

__global__ void shuffles(float* out, const float* in) {
  const unsigned t = threadIdx.x;
  const float mine = in[t];
  out[t] = __shfl_sync(kWholeWarp, mine, 3) + 100 * __shfl_sync(kWholeWarp, mine, 1, 8);
  out[64 + t] = __shfl_up_sync(kWholeWarp, mine, 2) + 100 * __shfl_up_sync(kWholeWarp, mine, 1, 4);
  out[128 + t] = __shfl_down_sync(kWholeWarp, mine, 2) + 100 * __shfl_down_sync(kWholeWarp, mine, 1, 4);
  out[192 + t] = __shfl_xor_sync(kWholeWarp, mine, 5) + 100 * __shfl_xor_sync(kWholeWarp, mine, 4, 4);
}

// Halves of each warp do different things, which is fine: each names its own lanes.
__global__ void votes(float* out, const float* in) {
  const unsigned t = threadIdx.x;
  const bool large = in[t] >= 10;
  if (t % 32 < 16) {
    out[t] = static_cast<float>(__popc(__ballot_sync(0x0000FFFF, large)));
  } else {
    out[t] = __any_sync(0xFFFF0000, large) != 0 ? 10.0F : 20.0F;
    out[t] += __all_sync(0xFFFF0000, large) != 0 ? 1.0F : 2.0F;
  }
  __syncwarp();
}

__global__ void sums(float* out, const float* in) {
  out[threadIdx.x] = block_sum(in[threadIdx.x], shared_memory<float>());
}

__global__ void counted(float* out, const float* in) {
  auto* count = shared_memory<unsigned>();
  auto* most = shared_memory<int>() + 1;
  if (threadIdx.x == 0) {
    *count = 0;
    *most = -1;
  }
  __syncthreads();
  atomicAdd(count, 2U);
  atomicMax(most, static_cast<int>(in[threadIdx.x]));
  __syncthreads();
  out[threadIdx.x] = static_cast<float>(*count) + 1000.0F * static_cast<float>(*most);
}

__global__ void indices(float* out, const float*) {
  const unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  const unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  const unsigned i = block * blockDim.x * blockDim.y * blockDim.z + thread;
  out[i] = static_cast<float>(1000000 * (blockIdx.z * 100 + blockIdx.y * 10 + blockIdx.x) +
                              threadIdx.z * 100 + threadIdx.y * 10 + threadIdx.x);
}

// ---- threads that wait for what does not come

__global__ void barrier_not_reached(float* out, const float*) {
  if (threadIdx.x != 5) __syncthreads();
  out[threadIdx.x] = 0;
}
__global__ void different_barriers(float* out, const float*) {
  if (threadIdx.x < 32) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  out[threadIdx.x] = 0;
}
__global__ void shuffle_not_reached(float* out, const float* in) {
  float value = in[threadIdx.x];
  if (threadIdx.x != 37) value = __shfl_xor_sync(kWholeWarp, value, 1);
  out[threadIdx.x] = value;
}
__global__ void shuffle_beside_barrier(float* out, const float* in) {
  float value = in[threadIdx.x];
  if (threadIdx.x < 16) value = __shfl_xor_sync(kWholeWarp, value, 1);
  __syncthreads();
  out[threadIdx.x] = value;
}
__global__ void different_shuffles(float* out, const float* in) {
  float value = in[threadIdx.x];
  if (threadIdx.x % 32 == 0) {
    value = __shfl_xor_sync(kWholeWarp, value, 1);
  } else {
    value = __shfl_down_sync(kWholeWarp, value, 1);
  }
  out[threadIdx.x] = value;
}
__global__ void mask_without_lane(float* out, const float* in) {
  out[threadIdx.x] = __shfl_sync(0x7FFFFFFF, in[threadIdx.x], 0);
}
__global__ void reads_unnamed_lane(float* out, const float* in) {
  float value = in[threadIdx.x];
  if (threadIdx.x % 32 < 16) value = __shfl_sync(0x0000FFFF, value, 16);
  out[threadIdx.x] = value;
}

// ---- accesses where nothing is

__global__ void write_past_allocation(float* out, const float*) {
  out[kCaseFloats + 1] = 0;
}
__global__ void write_before_allocation(float* out, const float*) {
  out[-1] = 0;
}
__global__ void read_past_allocation(float* out, const float* in) {
  out[threadIdx.x] = in[kCaseFloats - kThreads + 1 + threadIdx.x];
}
__global__ void read_null(float* out, const float*) {
  const float* nothing = nullptr;
  out[threadIdx.x] = nothing[threadIdx.x];
}
__global__ void write_past_shared(float* out, const float* in) {
  shared_memory<float>()[threadIdx.x + 1] = in[threadIdx.x];
  out[threadIdx.x] = 0;
}
__global__ void write_before_shared(float* out, const float* in) {
  *(shared_memory<float>() + threadIdx.x - 1) = in[threadIdx.x];
  out[threadIdx.x] = 0;
}
__global__ void read_past_shared(float* out, const float* in) {
  auto* shared = shared_memory<float>();
  shared[threadIdx.x] = in[threadIdx.x];
  __syncthreads();
  out[threadIdx.x] = shared[threadIdx.x + 1];
}
__global__ void misaligned(float* out, const float* in) {
  *reinterpret_cast<float4*>(out) = *reinterpret_cast<const float4*>(in + 1);
}
__global__ void misaligned_stream(float* out, const float* in) {
  *reinterpret_cast<uint4*>(out) = load_stream(reinterpret_cast<const uint4*>(in + 2));
}
__global__ void read_unwritten_shared(float* out, const float* in) {
  auto* shared = shared_memory<float>();
  if (threadIdx.x != 9) shared[threadIdx.x] = in[threadIdx.x];
  __syncthreads();
  out[threadIdx.x] = shared[threadIdx.x ^ 1U];
}

// ---- races

template <bool kBarrier>
__global__ void exchange(float* out, const float* in) {
  auto* shared = shared_memory<float>();
  shared[threadIdx.x] = in[threadIdx.x];
  if (kBarrier) __syncthreads();
  out[threadIdx.x] = shared[threadIdx.x ^ 32U];
}
template <bool kBarrier>
__global__ void overwrite(float* out, const float* in) {
  auto* shared = shared_memory<float>();
  shared[threadIdx.x] = in[threadIdx.x];
  __syncthreads();
  out[threadIdx.x] = shared[kThreads - 1 - threadIdx.x];
  if (kBarrier) __syncthreads();
  shared[threadIdx.x] = 0;
}
// A shuffle makes lanes wait for each other, but does not order what they do to memory.
template <bool kBarrier>
__global__ void exchange_in_warp(float* out, const float* in) {
  auto* shared = shared_memory<float>();
  shared[threadIdx.x] = in[threadIdx.x];
  const float other = __shfl_xor_sync(kWholeWarp, in[threadIdx.x], 1);
  if (kBarrier) __syncwarp();
  out[threadIdx.x] = shared[threadIdx.x ^ 1U] - other;
}
template <bool kBarrier>
__global__ void exchange_in_device_memory(float* out, const float* in) {
  out[threadIdx.x] = in[threadIdx.x];
  if (kBarrier) __syncwarp();
  out[kThreads + threadIdx.x] = out[threadIdx.x ^ 1U];
}
// Each half of a warp orders its own lanes only; with kAcross they read what the other half has written.
template <bool kAcross>
__global__ void exchange_in_half_warp(float* out, const float* in) {
  auto* shared = shared_memory<float>();
  shared[threadIdx.x] = in[threadIdx.x];
  __syncwarp(threadIdx.x % 32 < 16 ? 0x0000FFFF : 0xFFFF0000);
  out[threadIdx.x] = shared[threadIdx.x ^ (kAcross ? 16U : 8U)];
}
// Whoever meets a third lane learns what that lane knows of the first.
__global__ void exchange_through_third(float* out, const float* in) {
  auto* shared = shared_memory<float>();
  const unsigned lane = threadIdx.x % 32;
  if (lane == 0) shared[threadIdx.x] = in[threadIdx.x];
  if (lane <= 1) __syncwarp(0x3);
  if (lane == 1 || lane == 2) __syncwarp(0x6);
  out[threadIdx.x] = lane == 2 ? shared[threadIdx.x - 2] : 0;
}
__global__ void count_without_barrier(float* out, const float*) {
  auto* count = shared_memory<unsigned>();
  if (threadIdx.x == 0) *count = 0;
  __syncthreads();
  atomicAdd(count, 1U);
  if (threadIdx.x == 40) out[0] = static_cast<float>(*count);
}
__global__ void same_word_of_two_blocks(float* out, const float*) {
  out[(blockIdx.x + threadIdx.x) % kCaseFloats] = 1;
}
template <bool kWait, bool kBarrier>
__global__ void copy_and_read(float* out, const float* in) {
  auto* shared = shared_memory<float>();
  if (threadIdx.x < kThreads / 4) copy_async_16(shared + 4 * threadIdx.x, in + 4 * threadIdx.x, true);
  copy_commit();
  if (kWait) copy_wait<0>();
  if (kBarrier) __syncthreads();
  out[threadIdx.x] = shared[threadIdx.x];
}
// The copy may begin before the others have read what it overwrites, though it is waited for after the
// barrier.
__global__ void copy_too_early(float* out, const float* in) {
  auto* shared = shared_memory<float>();
  shared[threadIdx.x] = in[threadIdx.x];
  __syncthreads();
  out[threadIdx.x] = shared[kThreads - 1 - threadIdx.x];
  if (threadIdx.x < kThreads / 4) copy_async_16(shared + 4 * threadIdx.x, in + 4 * threadIdx.x, true);
  __syncthreads();
  copy_wait<0>();
}

// ---- what accesses cost: one warp

template <int kStride>
__global__ void shared_stride(float* out, const float*) {
  shared_memory<float>()[threadIdx.x * kStride] = 1;
  out[threadIdx.x] = 0;
}
__global__ void shared_broadcast(float* out, const float*) {
  auto* shared = shared_memory<float>();
  if (threadIdx.x == 0) shared[0] = 1;
  __syncwarp();
  out[threadIdx.x] = shared[0];
}
template <int kRowBytes>
__global__ void shared_vectors(float* out, const float*) {
  auto* bytes = shared_memory<unsigned char>();
  *reinterpret_cast<uint4*>(bytes + threadIdx.x * kRowBytes) = make_uint4(1, 2, 3, 4);
  out[threadIdx.x] = 0;
}
template <int kStride>
__global__ void global_stride(float*, const float* in) {
  if (in[threadIdx.x * kStride] == 12345) shared_memory<float>()[0] = 1;
}

struct Case {
  const char* name;
  void (*kernel)(float*, const float*);
  LaunchShape shape;
};

const LaunchShape kOneBlock{dim3(1), dim3(kThreads), kSharedBytes};
const LaunchShape kOneWarp{dim3(1), dim3(32), 32 * 128};

const Case kCases[] = {
    {"shuffles", shuffles, kOneBlock},
    {"votes", votes, kOneBlock},
    {"sums", sums, kOneBlock},
    {"counted", counted, kOneBlock},
    {"indices", indices, {dim3(2, 2, 2), dim3(4, 4, 2), 0}},
    {"barrier_not_reached", barrier_not_reached, kOneBlock},
    {"different_barriers", different_barriers, kOneBlock},
    {"shuffle_not_reached", shuffle_not_reached, kOneBlock},
    {"shuffle_beside_barrier", shuffle_beside_barrier, kOneBlock},
    {"different_shuffles", different_shuffles, kOneBlock},
    {"mask_without_lane", mask_without_lane, kOneBlock},
    {"mask_of_missing_lanes", shuffles, {dim3(1), dim3(48), 0}},
    {"reads_unnamed_lane", reads_unnamed_lane, kOneBlock},
    {"write_past_allocation", write_past_allocation, kOneBlock},
    {"write_before_allocation", write_before_allocation, kOneBlock},
    {"read_past_allocation", read_past_allocation, kOneBlock},
    {"read_null", read_null, kOneBlock},
    {"write_past_shared", write_past_shared, kOneBlock},
    {"write_before_shared", write_before_shared, kOneBlock},
    {"read_past_shared", read_past_shared, kOneBlock},
    {"misaligned", misaligned, kOneBlock},
    {"misaligned_stream", misaligned_stream, kOneBlock},
    {"read_unwritten_shared", read_unwritten_shared, kOneBlock},
    {"exchange", exchange<true>, kOneBlock},
    {"exchange_without_barrier", exchange<false>, kOneBlock},
    {"overwrite", overwrite<true>, kOneBlock},
    {"overwrite_without_barrier", overwrite<false>, kOneBlock},
    {"exchange_in_warp", exchange_in_warp<true>, kOneBlock},
    {"exchange_in_warp_without_barrier", exchange_in_warp<false>, kOneBlock},
    {"exchange_in_device_memory", exchange_in_device_memory<true>, kOneBlock},
    {"exchange_in_device_memory_without_barrier", exchange_in_device_memory<false>, kOneBlock},
    {"exchange_in_half_warp", exchange_in_half_warp<false>, kOneBlock},
    {"exchange_across_half_warps", exchange_in_half_warp<true>, kOneBlock},
    {"exchange_through_third", exchange_through_third, kOneBlock},
    {"count_without_barrier", count_without_barrier, kOneBlock},
    {"same_word_of_two_blocks", same_word_of_two_blocks, {dim3(2), dim3(kThreads), 0}},
    {"copy_and_read", copy_and_read<true, true>, kOneBlock},
    {"copy_without_wait", copy_and_read<false, true>, kOneBlock},
    {"copy_without_barrier", copy_and_read<true, false>, kOneBlock},
    {"copy_too_early", copy_too_early, kOneBlock},
    {"shared_stride_1", shared_stride<1>, kOneWarp},
    {"shared_stride_2", shared_stride<2>, kOneWarp},
    {"shared_stride_32", shared_stride<32>, kOneWarp},
    {"shared_stride_31", shared_stride<31>, kOneWarp},
    {"shared_broadcast", shared_broadcast, kOneWarp},
    {"shared_vectors_of_16", shared_vectors<16>, kOneWarp},
    {"shared_vectors_of_128", shared_vectors<128>, kOneWarp},
    {"shared_vectors_of_80", shared_vectors<80>, kOneWarp},
    {"global_stride_1", global_stride<1>, kOneWarp},
    {"global_stride_8", global_stride<8>, kOneWarp},
    {"global_stride_0", global_stride<0>, kOneWarp},
    {"no_blocks", sums, {dim3(0), dim3(kThreads), kSharedBytes}},
    {"no_threads", sums, {dim3(1), dim3(0), kSharedBytes}},
    {"too_many_threads", sums, {dim3(1), dim3(64, 17), kSharedBytes}},
    {"too_much_shared_memory", sums, {dim3(1), dim3(kThreads), std::size_t{100} << 10U}},
};

}  // namespace

void run_case(std::string_view name, const Gpu& gpu, float* out, const float* in) {
  for (const Case& known : kCases) {
    if (known.name == name) return launch(gpu, known.name, known.kernel, known.shape, out, in);
  }
  throw std::invalid_argument("no kernel " + std::string(name));
}

}  // namespace spqr::cuda
