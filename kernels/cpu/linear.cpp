// y (+)= W x + b for one token and for many.   W (m, n) f32, f16, bf16 or packed; x (tokens, n); y (tokens,
// m). Few tokens: W is read as it lies, rows are shared among threads: bandwidth-bound. Many:
// linear_tiles.cpp.
#include <algorithm>
#include <cstring>
#include <utility>

#include "kernels/cpu/operations.h"
#include "kernels/cpu/spqr_matmul.h"
#include "kernels/half.h"
#include "kernels/threads.h"

namespace spqr::cpu {
namespace {

// Rows that a thread takes at a time, as the packed layout has them.
constexpr std::int64_t kStripRows = 64;
// Below this one thread is faster than waking others.
constexpr std::int64_t kMinParallelWeights = 16 * 1024;

void dense_rows(const TensorView& weight, std::int64_t first, std::int64_t rows, float* out) {
  const std::int64_t n = weight.shape.at(1);
  const auto begin = static_cast<std::size_t>(first * n);
  const auto count = static_cast<std::size_t>(rows * n);
  switch (weight.dtype) {
    case DType::f16:
      f16_to_f32(static_cast<const std::uint16_t*>(weight.data) + begin, out, count);
      break;
    case DType::bf16:
      bf16_to_f32(static_cast<const std::uint16_t*>(weight.data) + begin, out, count);
      break;
    default:
      std::memcpy(out, static_cast<const float*>(weight.data) + begin, count * sizeof(float));
  }
}

float bias_of(const Linear& weight, std::int64_t row) {
  return weight.bias.empty() ? 0.0F : weight.bias[static_cast<std::size_t>(row)];
}

void finish(float& y, float value, Store store) {
  y = store == Store::add ? y + value : value;
}

// All packed members in one pass.
void packed_few(const Execution& run, const LinearJob& job, SpqrInput& input) {
  std::vector<SpqrProduct> products;
  for (std::size_t i = 0; i < job.members.size(); ++i) {
    if (const auto* packed = std::get_if<SpqrMatrix>(&job.members[i].weight))
      products.push_back({packed, job.members[i].bias, job.ys[i].data, job.store == Store::add});
  }
  spqr_matmul(run.kernels, products, job.permuted, job.activations, input);
}

// sum_j W[row][j] x[j]
float dense_dot(const VectorKernels& kernels, const TensorView& weight, std::int64_t row, const float* x,
                std::int64_t n) {
  switch (weight.dtype) {
    case DType::f16:
      return kernels.dot_f16(static_cast<const std::uint16_t*>(weight.data) + row * n, x, n);
    case DType::bf16:
      return kernels.dot_bf16(static_cast<const std::uint16_t*>(weight.data) + row * n, x, n);
    default:
      return kernels.dot(static_cast<const float*>(weight.data) + row * n, x, n);
  }
}

void dense_few(const Execution& run, Matrix y, const Linear& weight, const TensorView& dense, Matrix x,
               Store store) {
  const std::int64_t m = weight.m();
  const std::int64_t n = weight.n();
  const std::int64_t pieces = (m + kStripRows - 1) / kStripRows;
  const auto multiply_rows = [&](std::int64_t piece) {
    for (std::int64_t i = piece * kStripRows; i < std::min(m, (piece + 1) * kStripRows); ++i) {
      for (std::int64_t t = 0; t < x.rows; ++t) {
        const float sum = dense_dot(run.kernels.vectors, dense, i, x.data + t * n, n) + bias_of(weight, i);
        finish(y.data[t * y.cols + i], sum, store);
      }
    }
  };
  parallel_for(pieces, multiply_rows, m * n >= kMinParallelWeights);
}

bool is_packed(const Linear& weight) {
  return std::holds_alternative<SpqrMatrix>(weight.weight);
}

// Up to so many tokens are multiplied with packed weights in 16-bit integers.
std::int64_t few_tokens(const KernelTables& kernels) {
  return kernels.bf16 != nullptr ? kernels.bf16->few_tokens : kernels.strips.few_tokens;
}

// How packed members are multiplied.
enum class Path : std::uint8_t { few, tiles_f32, tiles_bf16 };
Path path_of(const Execution& run, const LinearJob& job) {
  const bool f32 = job.activations == ActivationType::f32;
  if (job.x.rows <= (f32 ? run.kernels.few_packed : few_tokens(run.kernels))) return Path::few;
  return f32 || run.kernels.bf16 == nullptr ? Path::tiles_f32 : Path::tiles_bf16;
}

bool splits_dense(const KernelTables& kernels) {
  return kernels.bf16 != nullptr && kernels.bf16->split != nullptr;
}

// Whether the product with many tokens is one of high and low parts.
bool is_split(const Execution& run, const LinearJob& job, const TensorView& weight) {
  return job.activations == ActivationType::automatic && splits_dense(run.kernels) &&
         weight.dtype != DType::f32;
}

}  // namespace

void weight_rows(const KernelTables& kernels, const Linear& weight, std::int64_t first, std::int64_t rows,
                 float* out) {
  if (const auto* packed = std::get_if<SpqrMatrix>(&weight.weight)) {
    dequantize_rows(kernels.strips, *packed, first, rows, out);
  } else {
    dense_rows(std::get<TensorView>(weight.weight), first, rows, out);
  }
}

std::int64_t linear_floats(const KernelTables& kernels, std::int64_t n, std::int64_t tokens) {
  if (tokens <= std::min(kernels.few_packed, kernels.few_dense)) return 0;
  return tile_floats(splits_dense(kernels) ? Bf16Kernels::split_pairs(n) : n);
}

std::int64_t LinearInputs::most_floats(const KernelTables& kernels, std::int64_t n, std::int64_t tokens) {
  const std::int64_t few = std::min(tokens, std::max(kernels.few_packed, few_tokens(kernels)));
  return SpqrInput::most_floats(n, few) + (kernels.bf16 != nullptr ? Bf16Kernels::pairs(n) * tokens : 0) +
         (splits_dense(kernels) ? Bf16Kernels::split_pairs(n) * tokens : 0);
}

void linear(const Execution& run, const LinearJob& job, LinearInputs& inputs) {
  const Path path = path_of(run, job);
  if (std::any_of(job.members.begin(), job.members.end(), is_packed)) {
    if (path == Path::few) packed_few(run, job, inputs.few);
    if (path == Path::tiles_bf16) narrow(*run.kernels.bf16, job.permuted, inputs.bf16);
  }
  bool has_split = false;  // inputs.split holds x
  for (std::size_t i = 0; i < job.members.size(); ++i) {
    const Linear& weight = job.members[i];
    const auto* dense = std::get_if<TensorView>(&weight.weight);
    if (dense != nullptr && job.x.rows <= run.kernels.few_dense) {
      dense_few(run, job.ys[i], weight, *dense, job.x, job.store);
    } else if (dense != nullptr && is_split(run, job, *dense)) {
      if (!std::exchange(has_split, true)) split(*run.kernels.bf16, job.x, inputs.split);
      linear_tiles_split(run, job.ys[i], weight, inputs.split, job.store);
    } else if (dense != nullptr) {
      linear_tiles(run, job.ys[i], weight, job.x, job.store);
    } else if (path == Path::tiles_f32) {
      linear_tiles(run, job.ys[i], weight, job.permuted, job.store);
    } else if (path == Path::tiles_bf16) {
      linear_tiles_bf16(run, job.ys[i], weight, inputs.bf16, job.store);
    }
  }
}

}  // namespace spqr::cpu
