// h = silu(gate) * up, elementwise.
//   h, gate, up (count) f32, h may be gate
// Reads 8 count bytes, writes 4 count: bandwidth-bound.
// Work split: a thread per 16 bytes, or per value where memory is not aligned.   Source: arXiv 2002.05202.
#include "kernels/cuda/device/values.cuh"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/operations.h"

namespace spqr::cuda {
namespace {

constexpr int kThreads = 256;

__device__ __forceinline__ float silu_product(float gate, float up) {
  return gate / (1.0F + expf(-gate)) * up;  // far below zero the exponential is infinite, the quotient 0
}

template <int kWide>
__global__ void __launch_bounds__(kThreads)
    swiglu_kernel(float* h, const float* gate, const float* up, std::int64_t count) {
  const std::int64_t begin = (static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kWide;
  if (begin + kWide <= count) {
    Values<kWide> values = load_values<kWide>(gate + begin);
    const Values<kWide> factors = load_values<kWide>(up + begin);
#pragma unroll
    for (int k = 0; k < kWide; ++k) values.v[k] = silu_product(values.v[k], factors.v[k]);
    store_values<kWide>(h + begin, values);
  } else {
    for (std::int64_t i = begin; i < count; ++i) h[i] = silu_product(gate[i], up[i]);
  }
}

}  // namespace

void swiglu(const Gpu& gpu, Matrix h, Matrix gate, Matrix up) {
  const std::int64_t count = gate.rows * gate.cols;
  const bool wide = is_aligned(h.data) && is_aligned(gate.data) && is_aligned(up.data);
  launch(gpu, "swiglu", wide ? swiglu_kernel<4> : swiglu_kernel<1>,
         {dim3(static_cast<unsigned>(ceil_div(count, kThreads * (wide ? 4 : 1)))), dim3(kThreads)}, h.data,
         gate.data, up.data, count);
}

}  // namespace spqr::cuda
