// h = x Phi(x), elementwise: the GELU with the error function.
//   h, x (count) f32, h may be x
// Reads and writes 4 count bytes: bandwidth-bound.
// Work split: a thread per 16 bytes, or per value where memory is not aligned.   Source: arXiv 1606.08415.
#include "kernels/cuda/device/values.cuh"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/operations.h"

namespace spqr::cuda {
namespace {

constexpr int kThreads = 256;

__device__ __forceinline__ float gelu_of(float x) {
  constexpr float kRootOfHalf = 0.70710678118654752F;
  // 1 + erf(x) would be 0 far below zero, where erfc(-x) still has all its digits.
  return x * (0.5F * erfcf(-x * kRootOfHalf));
}

template <int kWide>
__global__ void __launch_bounds__(kThreads) gelu_kernel(float* h, const float* x, std::int64_t count) {
  const std::int64_t begin = (static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kWide;
  if (begin + kWide <= count) {
    Values<kWide> values = load_values<kWide>(x + begin);
#pragma unroll
    for (int k = 0; k < kWide; ++k) values.v[k] = gelu_of(values.v[k]);
    store_values<kWide>(h + begin, values);
  } else {
    for (std::int64_t i = begin; i < count; ++i) h[i] = gelu_of(x[i]);
  }
}

}  // namespace

void gelu(const Gpu& gpu, Matrix h, Matrix x) {
  const std::int64_t count = x.rows * x.cols;
  const bool wide = is_aligned(h.data) && is_aligned(x.data);
  launch(gpu, "gelu", wide ? gelu_kernel<4> : gelu_kernel<1>,
         {dim3(static_cast<unsigned>(ceil_div(count, kThreads * (wide ? 4 : 1)))), dim3(kThreads)}, h.data,
         x.data, count);
}

}  // namespace spqr::cuda
