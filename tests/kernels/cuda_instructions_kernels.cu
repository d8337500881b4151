#include "tests/kernels/cuda_instructions_kernels.h"

#include "kernels/cuda/device/instructions.cuh"
#include "kernels/cuda/device/shared_memory.cuh"
#include "kernels/cuda/launch.h"

namespace spqr::cuda {
namespace {

constexpr unsigned kThreads = 128;

__device__ __forceinline__ std::size_t thread_in_grid() {
  return static_cast<std::size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}

LaunchShape threads_for(std::size_t count) {
  return {dim3(static_cast<unsigned>(ceil_div(static_cast<std::int64_t>(count), kThreads))), dim3(kThreads),
          0};
}

__global__ void widen_kernel(float* out, const std::uint16_t* in, std::size_t count) {
  const std::size_t i = thread_in_grid();
  if (i < count) out[i] = f16_to_f32(in[i]);
}

__global__ void narrow_kernel(std::uint16_t* out, const float* in, std::size_t count) {
  const std::size_t i = thread_in_grid();
  if (i < count) out[i] = f32_to_f16(in[i]);
}

__global__ void narrow_pairs_kernel(std::uint32_t* out, float* back, const float* in, std::size_t count) {
  const std::size_t i = thread_in_grid();
  if (i >= count) return;
  const std::uint32_t pair = f32x2_to_f16x2(in[2 * i], in[2 * i + 1]);
  out[i] = pair;
  back[2 * i] = f16x2_low(pair);
  back[2 * i + 1] = f16x2_high(pair);
}

__global__ void ternary_kernel(Ternary what, std::uint32_t* out, const std::uint32_t* abc,
                               std::size_t count) {
  const std::size_t i = thread_in_grid();
  if (i >= count) return;
  const std::uint32_t a = abc[3 * i];
  const std::uint32_t b = abc[3 * i + 1];
  const std::uint32_t c = abc[3 * i + 2];
  switch (what) {
    case Ternary::f16x2_fma:
      out[i] = f16x2_fma(a, b, c);
      break;
    case Ternary::f16x2_subtract:
      out[i] = f16x2_subtract(a, b);
      break;
    case Ternary::and_or:
      out[i] = and_or(a, b, c);
      break;
    case Ternary::permute_bytes:
      out[i] = permute_bytes(a, b, c);
      break;
    case Ternary::dot4:
      out[i] = static_cast<std::uint32_t>(
          dot4(static_cast<std::int32_t>(a), static_cast<std::int32_t>(b), static_cast<std::int32_t>(c)));
      break;
  }
}

__global__ void mma_k8_kernel(float* d, const std::uint32_t* a, const std::uint32_t* b) {
  const unsigned lane = threadIdx.x;
  Accumulator4 sums{{d[4 * lane], d[4 * lane + 1], d[4 * lane + 2], d[4 * lane + 3]}};
  mma_k8(sums, a[2 * lane], a[2 * lane + 1], b[lane]);
  for (unsigned i = 0; i < 4; ++i) d[4 * lane + i] = sums.c[i];
}

__global__ void mma_k16_kernel(float* d, const std::uint32_t* a, const std::uint32_t* b) {
  const unsigned lane = threadIdx.x;
  Accumulator4 sums{{d[4 * lane], d[4 * lane + 1], d[4 * lane + 2], d[4 * lane + 3]}};
  const Fragment4 of_a{{a[4 * lane], a[4 * lane + 1], a[4 * lane + 2], a[4 * lane + 3]}};
  mma_k16(sums, of_a, b[2 * lane], b[2 * lane + 1]);
  for (unsigned i = 0; i < 4; ++i) d[4 * lane + i] = sums.c[i];
}

__global__ void load_matrices_kernel(std::uint32_t* out, const std::uint16_t* rows,
                                     const std::uint32_t* order, int stride) {
  auto* shared = shared_memory<std::uint16_t>();
  const unsigned lane = threadIdx.x;
  for (unsigned i = 0; i < 8; ++i) shared[lane * stride + i] = rows[8 * lane + i];
  __syncwarp();
  const Fragment4 fragment = load_matrices(shared + order[lane] * stride);
  for (unsigned i = 0; i < 4; ++i) out[4 * lane + i] = fragment.r[i];
}

__global__ void copy_async_kernel(uint4* out, const uint4* in, std::size_t count, std::size_t valid) {
  auto* first = shared_memory<uint4>();
  uint4* second = first + blockDim.x;
  const std::size_t i = thread_in_grid();
  const std::size_t other =
      count - 1 - i;  // the copies of the second group are those of the first, backwards
  if (i < count) copy_async_16(first + threadIdx.x, in + i, i < valid);
  copy_commit();
  if (i < count) copy_async_16(second + threadIdx.x, in + other, other < valid);
  copy_commit();
  copy_wait<1>();
  if (i < count) out[i] = first[threadIdx.x];
  copy_wait<0>();
  if (i < count) out[count + other] = second[threadIdx.x];
}

__global__ void copy_stream_kernel(uint4* out, const uint4* in, std::size_t count) {
  const std::size_t i = thread_in_grid();
  if (i < count) out[i] = load_stream(in + i);
}

}  // namespace

void widen(const Gpu& gpu, float* out, const std::uint16_t* in, std::size_t count) {
  launch(gpu, "widen", widen_kernel, threads_for(count), out, in, count);
}
void narrow(const Gpu& gpu, std::uint16_t* out, const float* in, std::size_t count) {
  launch(gpu, "narrow", narrow_kernel, threads_for(count), out, in, count);
}
void narrow_pairs(const Gpu& gpu, std::uint32_t* out, float* back, const float* in, std::size_t count) {
  launch(gpu, "narrow_pairs", narrow_pairs_kernel, threads_for(count), out, back, in, count);
}
void ternary(const Gpu& gpu, Ternary what, std::uint32_t* out, const std::uint32_t* abc, std::size_t count) {
  launch(gpu, "ternary", ternary_kernel, threads_for(count), what, out, abc, count);
}
void mma(const Gpu& gpu, int depth, float* d, const std::uint32_t* a, const std::uint32_t* b) {
  launch(gpu, "mma", depth == 8 ? mma_k8_kernel : mma_k16_kernel, {dim3(1), dim3(kWarpLanes), 0}, d, a, b);
}
void load_matrices(const Gpu& gpu, std::uint32_t* out, const std::uint16_t* rows, const std::uint32_t* order,
                   int stride) {
  const auto shared_bytes = static_cast<std::size_t>(kWarpLanes * stride) * sizeof(std::uint16_t);
  launch(gpu, "load_matrices", load_matrices_kernel, {dim3(1), dim3(kWarpLanes), shared_bytes}, out, rows,
         order, stride);
}
void copy_async(const Gpu& gpu, uint4* out, const uint4* in, std::size_t count, std::size_t valid) {
  LaunchShape shape = threads_for(count);
  shape.shared_bytes = 2 * kThreads * sizeof(uint4);
  launch(gpu, "copy_async", copy_async_kernel, shape, out, in, count, valid);
}
void copy_stream(const Gpu& gpu, uint4* out, const uint4* in, std::size_t count) {
  launch(gpu, "copy_stream", copy_stream_kernel, threads_for(count), out, in, count);
}

}  // namespace spqr::cuda
