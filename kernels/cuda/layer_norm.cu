// y = (x - mean(x)) / sqrt(variance(x) + eps) * weight + bias, row by row.
//   x, y (rows, size) f32, y may be x   weight, bias (size) f32
// Reads 4 (2 size + rows size) bytes, x twice again from the L1 cache, writes 4 rows size: bandwidth-bound;
// of one token, latency-bound.
// Work split: a block per row, or a warp per row where it is short, 16 bytes an access where rows are
// aligned. The variance is of differences to the mean, since that of squares would cancel where the mean is
// far from zero. Sums in f32, in an order that depends on size alone.   Source: arXiv 1607.06450.
#include "kernels/cuda/device/reduce.cuh"
#include "kernels/cuda/device/shared_memory.cuh"
#include "kernels/cuda/device/values.cuh"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/norm_shape.h"
#include "kernels/cuda/operations.h"

namespace spqr::cuda {
namespace {

// What this thread sees of a row: values begin, begin + step, ..., kWide of them at a time.
struct Share {
  int begin;
  int step;
  int size;
};

template <int kWide>
__device__ __forceinline__ float sum_of(const float* in, const Share& share) {
  float sum = 0;
  for (int i = share.begin; i < share.size; i += share.step) {
    const Values<kWide> values = load_values<kWide>(in + i);
#pragma unroll
    for (int k = 0; k < kWide; ++k) sum += values.v[k];
  }
  return sum;
}

template <int kWide>
__device__ __forceinline__ float sum_of_squares(const float* in, const Share& share, float mean) {
  float sum = 0;
  for (int i = share.begin; i < share.size; i += share.step) {
    const Values<kWide> values = load_values<kWide>(in + i);
#pragma unroll
    for (int k = 0; k < kWide; ++k) sum = fmaf(values.v[k] - mean, values.v[k] - mean, sum);
  }
  return sum;
}

template <int kWide>
__global__ void __launch_bounds__(kNormThreads)
    layer_norm_kernel(float* y, const float* x, const float* weight, const float* bias, std::int64_t rows,
                      int size, float eps) {
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  if (row >= rows) return;  // whole warps, and only where no barrier follows
  const float* in = x + row * size;
  float* out = y + row * size;
  const Share share = {static_cast<int>(threadIdx.x) * kWide, static_cast<int>(blockDim.x) * kWide, size};
  const bool warp_alone = blockDim.x == kWarpLanes;
  auto* sums = shared_memory<float>();
  const float part = sum_of<kWide>(in, share);
  const float mean = (warp_alone ? warp_sum(part) : block_sum(part, sums)) / static_cast<float>(size);
  const float parts = sum_of_squares<kWide>(in, share, mean);
  const float squares = warp_alone ? warp_sum(parts) : block_sum(parts, sums + kWarpLanes);
  const float scale = 1.0F / sqrtf(squares / static_cast<float>(size) + eps);
  for (int i = share.begin; i < size; i += share.step) {
    Values<kWide> values = load_values<kWide>(in + i);
    const Values<kWide> factors = load_values<kWide>(weight + i);
    const Values<kWide> offsets = load_values<kWide>(bias + i);
#pragma unroll
    for (int k = 0; k < kWide; ++k)
      values.v[k] = fmaf((values.v[k] - mean) * scale, factors.v[k], offsets.v[k]);
    store_values<kWide>(out + i, values);
  }
}

}  // namespace

void layer_norm(const Gpu& gpu, Matrix y, Matrix x, const Norm& norm) {
  const float* weight = norm.weight.data();
  const float* bias = norm.bias.data();
  const bool wide = is_aligned(x.data, norm.weight.size_bytes()) && is_aligned(y.data) &&
                    is_aligned(weight) && is_aligned(bias);
  launch(gpu, "layer_norm", wide ? layer_norm_kernel<4> : layer_norm_kernel<1>,
         norm_shape(x.rows, x.cols, wide ? 4 : 1), y.data, x.data, weight, bias, x.rows, x.cols, norm.eps);
}

}  // namespace spqr::cuda
