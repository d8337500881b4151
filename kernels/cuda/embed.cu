// x[t] = table[ids[t]].
//   table (vocab, hidden) f32, f16 or bf16; packed ones in spqr_operations.h   ids (tokens)   x (tokens,
//   hidden) f32
// Reads hidden values and writes 4 hidden bytes a token: of one token, latency-bound.
// Work split: blocks of a token's columns, 16 bytes of the table a thread where its rows are aligned.
#include "kernels/cuda/device/values.cuh"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/operations.h"
#include "kernels/cuda/spqr_operations.h"

namespace spqr::cuda {
namespace {

constexpr int kThreads = 128;

template <DType kType, bool kAligned>
__global__ void __launch_bounds__(kThreads)
    embed_kernel(float* x, const void* table, const std::int32_t* ids, std::int64_t hidden) {
  using Stored = typename Dense<kType>::Stored;
  constexpr int kWide = kAligned ? Dense<kType>::kWide : 1;
  const std::int64_t token = blockIdx.x;
  const std::int64_t column = (static_cast<std::int64_t>(blockIdx.y) * kThreads + threadIdx.x) * kWide;
  if (column >= hidden) return;
  const Stored* from = static_cast<const Stored*>(table) + ids[token] * hidden + column;
  Values<kWide> values;
  if constexpr (kAligned) {
    values = widen<kType>(*reinterpret_cast<const uint4*>(from));
  } else {
    values.v[0] = Dense<kType>::widen(*from);
  }
  store_values<kWide>(x + token * hidden + column, values);
}

template <DType kType>
void embed_dense(const Gpu& gpu, Matrix x, const TensorView& table, const std::int32_t* ids) {
  const auto row_bytes = static_cast<std::size_t>(x.cols) * size_of(kType);
  const bool wide = is_aligned(table.data, row_bytes) && is_aligned(x.data);
  const int columns = kThreads * (wide ? Dense<kType>::kWide : 1);
  launch(
      gpu, "embed", wide ? embed_kernel<kType, true> : embed_kernel<kType, false>,
      {dim3(static_cast<unsigned>(x.rows), static_cast<unsigned>(ceil_div(x.cols, columns))), dim3(kThreads)},
      x.data, table.data, ids, x.cols);
}

}  // namespace

void embed(const Gpu& gpu, Matrix x, const Linear& table, const std::int32_t* ids) {
  if (const auto* packed = std::get_if<SpqrMatrix>(&table.weight)) {
    embed_packed(gpu, x, *packed, ids);
    return;
  }
  const auto& dense = std::get<TensorView>(table.weight);
  if (dense.dtype == DType::f32) {
    embed_dense<DType::f32>(gpu, x, dense, ids);
  } else if (dense.dtype == DType::f16) {
    embed_dense<DType::f16>(gpu, x, dense, ids);
  } else {
    embed_dense<DType::bf16>(gpu, x, dense, ids);
  }
}

}  // namespace spqr::cuda
