// out[row] = sum_s e_s sums[row][s] / sum_s e_s total[row][s], e_s = exp2(maximum[row][s] - the largest of
// them): puts the parts together that attention_few and attention_many leave where keys are split.
//   part_statistics (rows, splits, 2)   part_sums (rows, splits, head_dim)   out (rows, head_dim), rows =
//   tokens * heads
// Reads 4 (head_dim + 2) bytes of each part. Work split: a thread has one value of the result.
// Accumulates in f32, in the order of the parts.   Source: flash decoding, arXiv 2311.01282.
#include <cstdint>

#include "kernels/cuda/device/attention_parts.cuh"
#include "kernels/cuda/launch.h"

namespace spqr::cuda {
namespace {

constexpr int kThreads = 128;

__global__ void combine(AttentionArguments a) {
  const std::int64_t index = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const std::int64_t row = index / a.head_dim;
  if (row >= static_cast<std::int64_t>(a.tokens) * a.heads) return;
  const float2* statistics = a.part_statistics + row * a.splits;
  const float* sums = a.part_sums + row * a.splits * a.head_dim + index % a.head_dim;
  float maximum = kMinusInfinity;
  for (int s = 0; s < a.splits; ++s) maximum = fmaxf(maximum, statistics[s].x);
  const float origin = score_origin(maximum);
  float total = 0;
  float sum = 0;
  for (int s = 0; s < a.splits; ++s) {
    const float weight = exp2f(statistics[s].x - origin);
    total = fmaf(weight, statistics[s].y, total);
    sum = fmaf(weight, sums[static_cast<std::int64_t>(s) * a.head_dim], sum);
  }
  a.out[index] = sum / total;
}

}  // namespace

void attention_combine(const Gpu& gpu, const AttentionArguments& a) {
  const std::int64_t values = static_cast<std::int64_t>(a.tokens) * a.heads * a.head_dim;
  launch(gpu, "attention_combine", combine,
         {dim3(static_cast<unsigned>(ceil_div(values, kThreads))), dim3(kThreads), 0}, a);
}

}  // namespace spqr::cuda
