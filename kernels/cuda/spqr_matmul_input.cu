// What spqr_matmul multiplies with: x', gathered by perm, as f16 with a scale for each token, what the
// rounding left, and x' itself a row per column.
//   x (tokens, n) f32 -> MatmulInput
// Reads x twice, and perm once per 32 tokens; writes 2 to 8 bytes a value. All accesses are in whole lines
// but the gather.
// Work split: a block per token finds its largest value; then a block has a panel of 64 columns of 32 tokens,
// a warp a token at a time, and turns them around in shared memory.
#include <algorithm>

#include "kernels/cuda/device/reduce.cuh"
#include "kernels/cuda/device/shared_memory.cuh"
#include "kernels/cuda/device/spqr_input.cuh"
#include "kernels/cuda/device/spqr_matmul_input.cuh"
#include "kernels/cuda/launch.h"

namespace spqr::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarpLanes;
constexpr int kColumns = SpqrDeviceLayout::kPanelColumns;
constexpr int kTokens = kWarpLanes;

__global__ void matmul_scales(const SpqrCall call, std::int32_t n, const MatmulInput input) {
  float* peaks = shared_memory<float>();
  const int token = static_cast<int>(blockIdx.x);
  const int lane = static_cast<int>(threadIdx.x) % kWarpLanes;
  const float* x = call.x + std::int64_t{token} * n;
  float peak = 0;
  if (token < call.tokens) {
    for (int j = static_cast<int>(threadIdx.x); j < n; j += kThreads) peak = fmaxf(peak, fabsf(x[j]));
  }
  peak = warp_max(peak);
  if (lane == 0) peaks[threadIdx.x / kWarpLanes] = peak;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int i = 1; i < kWarps; ++i) peak = fmaxf(peak, peaks[i]);
  const PowerOfTwo scale = scale_below_f16(peak);
  input.scale[token] = scale.value;
  input.scale_inverse[token] = scale.inverse;
}

using Turned = float[kColumns][kTokens + 1];  // one more: no bank conflicts in either direction

__global__ void matmul_split(const SpqrCall call, std::int32_t n, const MatmulInput input) {
  Turned& turned = *shared_memory<Turned>();
  const int warp = static_cast<int>(threadIdx.x) / kWarpLanes;
  const int lane = static_cast<int>(threadIdx.x) % kWarpLanes;
  const int first_column = kColumns * static_cast<int>(blockIdx.x);
  const int first_token = kTokens * static_cast<int>(blockIdx.y);
  const int column = first_column + 2 * lane;
  const int from0 = column < n ? source_column(call, column) : 0;
  const int from1 = column + 1 < n ? source_column(call, column + 1) : 0;
  for (int i = warp; i < kTokens; i += kWarps) {
    const int token = first_token + i;
    const bool present = token < call.tokens;
    const float* x = call.x + std::int64_t{token} * n;
    const float x0 = present && column < n ? x[from0] : 0.0F;
    const float x1 = present && column + 1 < n ? x[from1] : 0.0F;
    const float scale = input.scale[token];
    const SplitPair pair = split(x0 * scale, x1 * scale);
    const std::int64_t at = (std::int64_t{token} * input.columns + column) / 2;
    input.hi[at] = pair.hi;
    if (input.lo != nullptr) input.lo[at] = pair.lo;
    turned[2 * lane][i] = x0;
    turned[2 * lane + 1][i] = x1;
  }
  if (input.transposed == nullptr) return;  // the whole grid
  __syncthreads();
  for (int i = warp; i < kColumns; i += kWarps) {
    input.transposed[std::int64_t{first_column + i} * input.tokens + first_token + lane] = turned[i][lane];
  }
}

std::int64_t round_up(std::int64_t value, std::int64_t multiple) {
  return ceil_div(value, multiple) * multiple;
}

}  // namespace

MatmulInput matmul_input(std::byte* scratch, std::int64_t tokens, std::int64_t n) {
  MatmulInput input = {};
  input.tokens = static_cast<std::int32_t>(round_up(tokens, kMatmulTileTokens));
  input.columns = static_cast<std::int32_t>(round_up(n, kColumns));
  const std::int64_t values = std::int64_t{input.tokens} * input.columns;
  input.transposed = reinterpret_cast<float*>(scratch);
  input.hi = reinterpret_cast<std::uint32_t*>(input.transposed + values);
  input.lo = input.hi + values / 2;
  input.scale = reinterpret_cast<float*>(input.lo + values / 2);
  input.scale_inverse = input.scale + input.tokens;
  return input;
}

void prepare_matmul_input(const Gpu& gpu, const SpqrCall& call, std::int32_t n, const MatmulInput& input) {
  const auto tokens = static_cast<unsigned>(input.tokens);
  launch(gpu, "spqr_matmul, scales", matmul_scales, {dim3(tokens), dim3(kThreads), kWarps * sizeof(float)},
         call, n, input);
  launch(gpu, "spqr_matmul, split", matmul_split,
         {dim3(static_cast<unsigned>(input.columns / kColumns), tokens / kTokens), dim3(kThreads),
          sizeof(Turned)},
         call, n, input);
}

}  // namespace spqr::cuda
