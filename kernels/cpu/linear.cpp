// y (+)= W x + b for one token and for many.   W (m, n) f32, f16, bf16 or packed; x (tokens, n); y (tokens,
// m). Few tokens: W is read as it lies, rows are shared among threads: bandwidth-bound. Many: tiles of
// kTileRows rows, widened to f32, times kTileTokens tokens by BLAS: compute-bound. The tiles are the same for
// any number of threads and BLAS runs on one thread inside each, so that results are the same too.
#include <cblas.h>
#include <omp.h>

#include <algorithm>
#include <cstring>

#include "kernels/cpu/operations.h"
#include "kernels/cpu/spqr_matvec.h"
#include "kernels/cpu/vector_kernels.h"
#include "kernels/half.h"

namespace spqr::cpu {
namespace {

// Up to this many tokens reading the weights is what takes time.
constexpr std::int64_t kFewTokens = 4;
constexpr std::int64_t kTileRows = 192;  // a multiple of the packed layout's 64-row strips
constexpr std::int64_t kTileTokens = 512;
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

void packed_few(Matrix y, const Linear& weight, const SpqrMatrix& packed, Matrix x, Store store,
                ThreadMemory& memory) {
  memory.reserve(packed.m);
  float* product = memory.mine();
  for (std::int64_t t = 0; t < x.rows; ++t) {
    spqr_matvec(packed, x.data + t * x.cols, product);
    for (std::int64_t i = 0; i < packed.m; ++i) {
      finish(y.data[t * y.cols + i], product[i] + bias_of(weight, i), store);
    }
  }
}

// sum_j W[row][j] x[j]
float dense_dot(const TensorView& weight, std::int64_t row, const float* x, std::int64_t n) {
  const VectorKernels& kernels = vector_kernels();
  switch (weight.dtype) {
    case DType::f16:
      return kernels.dot_f16(static_cast<const std::uint16_t*>(weight.data) + row * n, x, n);
    case DType::bf16:
      return kernels.dot_bf16(static_cast<const std::uint16_t*>(weight.data) + row * n, x, n);
    default:
      return kernels.dot(static_cast<const float*>(weight.data) + row * n, x, n);
  }
}

void dense_few(Matrix y, const Linear& weight, const TensorView& dense, Matrix x, Store store) {
  const std::int64_t m = weight.m();
  const std::int64_t n = weight.n();
#pragma omp parallel for schedule(static) if (m * n >= kMinParallelWeights)
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t t = 0; t < x.rows; ++t) {
      finish(y.data[t * y.cols + i], dense_dot(dense, i, x.data + t * n, n) + bias_of(weight, i), store);
    }
  }
}

// One tile: y (tokens, rows) is a part of the whole product, whose rows are `stride` apart.
void multiply(float* y, std::int64_t stride, const float* w, std::int64_t rows, Matrix x, Store store) {
  const auto n = static_cast<int>(x.cols);
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, static_cast<int>(x.rows), static_cast<int>(rows), n,
              1.0F, x.data, n, w, n, store == Store::add ? 1.0F : 0.0F, y, static_cast<int>(stride));
}

void add_bias(float* y, std::int64_t stride, const float* bias, std::int64_t rows, std::int64_t tokens) {
  for (std::int64_t t = 0; t < tokens; ++t) {
    for (std::int64_t i = 0; i < rows; ++i) y[t * stride + i] += bias[i];
  }
}

void linear_many(Matrix y, const Linear& weight, Matrix x, Store store, ThreadMemory& memory) {
  const std::int64_t m = weight.m();
  const std::int64_t n = weight.n();
  const auto* dense = std::get_if<TensorView>(&weight.weight);
  const bool in_place = dense != nullptr && dense->dtype == DType::f32;
  if (!in_place) memory.reserve(std::min(m, kTileRows) * n);
  // Also cut along the tokens, or a narrow matrix would be the work of few threads.
  const std::int64_t row_tiles = (m + kTileRows - 1) / kTileRows;
  const std::int64_t token_tiles = (x.rows + kTileTokens - 1) / kTileTokens;
#pragma omp parallel
  {
    std::int64_t widened = -1;  // the row tile in this thread's memory
#pragma omp for schedule(dynamic) collapse(2)
    for (std::int64_t r = 0; r < row_tiles; ++r) {
      for (std::int64_t s = 0; s < token_tiles; ++s) {
        const std::int64_t first = r * kTileRows;
        const std::int64_t rows = std::min(kTileRows, m - first);
        const float* w = in_place ? static_cast<const float*>(dense->data) + first * n : memory.mine();
        if (!in_place && widened != r) weight_rows(weight, first, rows, memory.mine());
        widened = r;
        const std::int64_t token = s * kTileTokens;
        const std::int64_t tokens = std::min(kTileTokens, x.rows - token);
        float* out = y.data + token * y.cols + first;
        multiply(out, y.cols, w, rows, {x.data + token * n, tokens, n}, store);
        if (!weight.bias.empty()) add_bias(out, y.cols, weight.bias.data() + first, rows, tokens);
      }
    }
  }
}

}  // namespace

float* ThreadMemory::mine() {
  return pieces_[static_cast<std::size_t>(omp_get_thread_num())].data();
}

void weight_rows(const Linear& weight, std::int64_t first, std::int64_t rows, float* out) {
  if (const auto* packed = std::get_if<SpqrMatrix>(&weight.weight)) {
    dequantize_rows(*packed, first, rows, out);
  } else {
    dense_rows(std::get<TensorView>(weight.weight), first, rows, out);
  }
}

void linear(Matrix y, const Linear& weight, Matrix x, Store store, ThreadMemory& memory) {
  if (x.rows > kFewTokens) {
    linear_many(y, weight, x, store, memory);
  } else if (const auto* packed = std::get_if<SpqrMatrix>(&weight.weight)) {
    packed_few(y, weight, *packed, x, store, memory);
  } else {
    dense_few(y, weight, std::get<TensorView>(weight.weight), x, store);
  }
}

}  // namespace spqr::cpu
