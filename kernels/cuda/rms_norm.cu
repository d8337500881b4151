// y = x / sqrt(mean(x^2) + eps) * weight over vectors of weight.size() values, of which a row holds one or
// more.
//   x, y (vectors, size) f32, y may be x   weight (size) f32
// Reads 4 (size + vectors size) bytes, x again from the L1 cache, writes 4 vectors size: bandwidth-bound; of
// one token, latency-bound.
// Work split: a block per vector, or a warp per vector where it is short, 16 bytes an access where rows are
// aligned. Sums of squares in f32, in an order that depends on size alone.   Source: arXiv 1910.07467.
#include "kernels/cuda/device/reduce.cuh"
#include "kernels/cuda/device/shared_memory.cuh"
#include "kernels/cuda/device/values.cuh"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/norm_shape.h"
#include "kernels/cuda/operations.h"

namespace spqr::cuda {
namespace {

template <int kWide>
__global__ void __launch_bounds__(kNormThreads) rms_norm_kernel(float* y, const float* x, const float* weight,
                                                                std::int64_t vectors, int size, float eps) {
  const std::int64_t vector = static_cast<std::int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  if (vector >= vectors) return;  // whole warps, and only where no barrier follows
  const float* in = x + vector * size;
  float* out = y + vector * size;
  const int begin = static_cast<int>(threadIdx.x) * kWide;
  const int step = static_cast<int>(blockDim.x) * kWide;
  float squares = 0;
  for (int i = begin; i < size; i += step) {
    const Values<kWide> values = load_values<kWide>(in + i);
#pragma unroll
    for (int k = 0; k < kWide; ++k) squares = fmaf(values.v[k], values.v[k], squares);
  }
  squares = blockDim.x == kWarpLanes ? warp_sum(squares) : block_sum(squares, shared_memory<float>());
  const float scale = 1.0F / sqrtf(squares / static_cast<float>(size) + eps);
  for (int i = begin; i < size; i += step) {
    Values<kWide> values = load_values<kWide>(in + i);
    const Values<kWide> factors = load_values<kWide>(weight + i);
#pragma unroll
    for (int k = 0; k < kWide; ++k) values.v[k] = values.v[k] * scale * factors.v[k];
    store_values<kWide>(out + i, values);
  }
}

}  // namespace

void rms_norm(const Gpu& gpu, Matrix y, Matrix x, const Norm& norm) {
  const auto size = static_cast<std::int64_t>(norm.weight.size());
  const std::int64_t vectors = x.rows * x.cols / size;
  const float* weight = norm.weight.data();
  const bool wide = is_aligned(x.data, norm.weight.size_bytes()) && is_aligned(y.data) && is_aligned(weight);
  launch(gpu, "rms_norm", wide ? rms_norm_kernel<4> : rms_norm_kernel<1>,
         norm_shape(vectors, size, wide ? 4 : 1), y.data, x.data, weight, vectors, size, norm.eps);
}

}  // namespace spqr::cuda
