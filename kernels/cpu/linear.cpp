// y (+)= W x + b for one token and for many.   W (m, n) f32, f16, bf16 or packed; x (tokens, n); y (tokens,
// m). Few tokens: W is read as it lies, rows are shared among threads: bandwidth-bound. Many: in f32, tiles
// of kTileRows rows, widened to f32 and cut into panels once, times kTileTokens tokens: compute-bound.
#include <algorithm>
#include <cstring>

#include "kernels/cpu/operations.h"
#include "kernels/cpu/spqr_matmul.h"
#include "kernels/half.h"
#include "kernels/threads.h"

namespace spqr::cpu {
namespace {

// Up to this many tokens reading the weights is what takes time.
constexpr std::int64_t kFewTokens = 4;
constexpr std::int64_t kTileRows = 384;
constexpr std::int64_t kTileTokens = 192;
// Products summed in registers: a panel of so many rows stays in the first cache, so much of a tile's inputs
// in the second.
constexpr std::int64_t kDepth = 320;
// Rows widened at a time, as the packed layout has them.
constexpr std::int64_t kStripRows = 64;
static_assert(kTileRows % kStripRows == 0 && kStripRows % kPanelCols == 0);
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
  spqr_matmul(run.kernels.strips, products, job.permuted, job.activations, input);
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

// A thread's memory for one tile.
struct TileScratch {
  float* panels;  // of W^T, the tile's rows
  float* strip;   // (kStripRows, n)
  float* inputs;  // (kTileTokens, kDepth)

  static std::int64_t floats(std::int64_t n) {
    return panel_floats(n, kTileRows) + kStripRows * n + kTileTokens * kDepth;
  }
  TileScratch(float* memory, std::int64_t n)
      : panels(memory), strip(panels + panel_floats(n, kTileRows)), inputs(strip + kStripRows * n) {}
};

Panels pack_tile(const KernelTables& kernels, const Linear& weight, std::int64_t first, std::int64_t rows,
                 const TileScratch& scratch) {
  const std::int64_t n = weight.n();
  const auto* dense = std::get_if<TensorView>(&weight.weight);
  if (dense != nullptr && dense->dtype == DType::f32)
    return pack_transposed(kernels.vectors, scratch.panels,
                           static_cast<const float*>(dense->data) + first * n, n, rows);
  for (std::int64_t r = 0; r < rows; r += kStripRows) {
    const std::int64_t count = std::min(kStripRows, rows - r);
    weight_rows(kernels, weight, first + r, count, scratch.strip);
    pack_transposed(kernels.vectors, scratch.panels + r * n, scratch.strip, n, count);
  }
  return {scratch.panels, n, rows};
}

// Columns first .. first + count of x. Rows at such distances fall into few sets of the caches and drive each
// other out, they are copied together.
ConstRows inputs_of(Matrix x, std::int64_t first, std::int64_t count, const TileScratch& scratch) {
  if (x.cols % 1024 != 0) return {x.data + first, x.cols};
  for (std::int64_t t = 0; t < x.rows; ++t)
    std::copy_n(x.data + t * x.cols + first, count, scratch.inputs + t * count);
  return {scratch.inputs, count};
}

// y (tokens, rows) (+)= x W^T for the rows of W in the panels.
void multiply_tile(const VectorKernels& kernels, Rows y, Matrix x, const Panels& w, Store store,
                   const TileScratch& scratch) {
  const std::int64_t pieces = (x.cols + kDepth - 1) / kDepth;
  const std::int64_t depth = (x.cols + pieces - 1) / pieces;  // all about the same
  for (std::int64_t k = 0; k < x.cols; k += depth) {
    const std::int64_t count = std::min(depth, x.cols - k);
    multiply(kernels, y, inputs_of(x, k, count, scratch), x.rows, w, {k, count}, k > 0 ? Store::add : store);
  }
}

void add_bias(float* y, std::int64_t stride, const float* bias, std::int64_t rows, std::int64_t tokens) {
  for (std::int64_t t = 0; t < tokens; ++t) {
    for (std::int64_t i = 0; i < rows; ++i) y[t * stride + i] += bias[i];
  }
}

void linear_many(const Execution& run, Matrix y, const Linear& weight, Matrix x, Store store) {
  const std::int64_t m = weight.m();
  const std::int64_t n = weight.n();
  run.memory.reserve(linear_floats(n, x.rows));
  // Also cut along the tokens, or a narrow matrix would be the work of few threads.
  const std::int64_t row_tiles = (m + kTileRows - 1) / kTileRows;
  const std::int64_t token_tiles = (x.rows + kTileTokens - 1) / kTileTokens;
  parallel(row_tiles * token_tiles, [&](Indices& mine) {
    const TileScratch scratch(run.memory.mine(), n);
    std::int64_t packed = -1;  // the row tile in this thread's memory
    Panels panels{};
    while (mine.next()) {
      const std::int64_t tile = mine.index() / token_tiles;
      const std::int64_t first = tile * kTileRows;
      const std::int64_t rows = std::min(kTileRows, m - first);
      if (packed != tile) panels = pack_tile(run.kernels, weight, first, rows, scratch);
      packed = tile;
      const std::int64_t token = mine.index() % token_tiles * kTileTokens;
      const std::int64_t tokens = std::min(kTileTokens, x.rows - token);
      float* out = y.data + token * y.cols + first;
      multiply_tile(run.kernels.vectors, {out, y.cols}, {x.data + token * n, tokens, n}, panels, store,
                    scratch);
      if (!weight.bias.empty()) add_bias(out, y.cols, weight.bias.data() + first, rows, tokens);
    }
  });
}

}  // namespace

float* ThreadMemory::mine() {
  return pieces_[static_cast<std::size_t>(thread_index())].data();
}

void weight_rows(const KernelTables& kernels, const Linear& weight, std::int64_t first, std::int64_t rows,
                 float* out) {
  if (const auto* packed = std::get_if<SpqrMatrix>(&weight.weight)) {
    dequantize_rows(kernels.strips, *packed, first, rows, out);
  } else {
    dense_rows(std::get<TensorView>(weight.weight), first, rows, out);
  }
}

std::int64_t linear_floats(std::int64_t n, std::int64_t tokens) {
  return tokens > kFewTokens ? TileScratch::floats(n) : 0;
}

std::int64_t input_floats(std::int64_t n, std::int64_t tokens) {
  return SpqrInput::most_floats(n, std::min(kFewTokens, tokens));
}

void linear(const Execution& run, const LinearJob& job, SpqrInput& input) {
  const bool few = job.x.rows <= kFewTokens;
  if (few) packed_few(run, job, input);
  for (std::size_t i = 0; i < job.members.size(); ++i) {
    const Linear& weight = job.members[i];
    const auto* dense = std::get_if<TensorView>(&weight.weight);
    if (!few) {
      linear_many(run, job.ys[i], weight, dense == nullptr ? job.permuted : job.x, job.store);
    } else if (dense != nullptr) {
      dense_few(run, job.ys[i], weight, *dense, job.x, job.store);
    }
  }
}

}  // namespace spqr::cpu
