// y (+)= W x + b for one token and for many.   W (m, n) f32, f16, bf16 or packed; x (tokens, n); y (tokens,
// m). One token: W is read once, as it lies: bandwidth-bound; rows are shared among threads. Many: tiles of
// kTileRows rows are widened to f32 and multiplied by BLAS with kTileTokens tokens: compute-bound. The tiles
// are the same for any number of threads, and BLAS runs on one thread inside each, so results are too.
#include <cblas.h>
#include <omp.h>

#include <algorithm>
#include <cstring>
#include <vector>

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

void packed_few(Matrix y, const Linear& weight, const SpqrMatrix& packed, Matrix x, Store store) {
  std::vector<float> product(static_cast<std::size_t>(packed.m));
  for (std::int64_t t = 0; t < x.rows; ++t) {
    spqr_matvec(packed, x.data + t * x.cols, product.data());
    for (std::int64_t i = 0; i < packed.m; ++i) {
      finish(y.data[t * y.cols + i], product[static_cast<std::size_t>(i)] + bias_of(weight, i), store);
    }
  }
}

void dense_few(Matrix y, const Linear& weight, const TensorView& dense, Matrix x, Store store) {
  const std::int64_t m = weight.m();
  const std::int64_t n = weight.n();
  const VectorKernels& kernels = vector_kernels();
#pragma omp parallel
  {
    std::vector<float> widened(dense.dtype == DType::f32 ? 0 : static_cast<std::size_t>(n));
#pragma omp for schedule(static)
    for (std::int64_t i = 0; i < m; ++i) {
      const float* row = static_cast<const float*>(dense.data) + i * n;
      if (dense.dtype != DType::f32) {
        dense_rows(dense, i, 1, widened.data());
        row = widened.data();
      }
      for (std::int64_t t = 0; t < x.rows; ++t) {
        finish(y.data[t * y.cols + i], kernels.dot(row, x.data + t * n, n) + bias_of(weight, i), store);
      }
    }
  }
}

// Columns first .. first + rows of y from `panel` (rows, n), rows first .. of W as f32.
void multiply_panel(Matrix y, const Linear& weight, Matrix x, Store store, std::int64_t first,
                    std::int64_t rows, const float* panel) {
  const auto n = static_cast<int>(x.cols);
  float* out = y.data + first;
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, static_cast<int>(x.rows), static_cast<int>(rows), n,
              1.0F, x.data, n, panel, n, store == Store::add ? 1.0F : 0.0F, out, static_cast<int>(y.cols));
  if (weight.bias.empty()) return;
  for (std::int64_t t = 0; t < x.rows; ++t) {
    for (std::int64_t i = 0; i < rows; ++i) out[t * y.cols + i] += bias_of(weight, first + i);
  }
}

void linear_many(Matrix y, const Linear& weight, Matrix x, Store store) {
  const std::int64_t m = weight.m();
  const std::int64_t n = weight.n();
  const auto* dense = std::get_if<TensorView>(&weight.weight);
  const bool in_place = dense != nullptr && dense->dtype == DType::f32;
  // Also cut along the tokens: a narrow matrix would be one thread's otherwise.
  const std::int64_t row_tiles = (m + kTileRows - 1) / kTileRows;
  const std::int64_t token_tiles = (x.rows + kTileTokens - 1) / kTileTokens;
#pragma omp parallel
  {
    std::vector<float> panel(in_place ? 0 : static_cast<std::size_t>(std::min(m, kTileRows) * n));
    std::int64_t widened = -1;
#pragma omp for schedule(dynamic) collapse(2)
    for (std::int64_t r = 0; r < row_tiles; ++r) {
      for (std::int64_t s = 0; s < token_tiles; ++s) {
        const std::int64_t first = r * kTileRows;
        const std::int64_t rows = std::min(kTileRows, m - first);
        const float* w = panel.data();
        if (in_place) {
          w = static_cast<const float*>(dense->data) + first * n;
        } else if (widened != r) {
          weight_rows(weight, first, rows, panel.data());
          widened = r;
        }
        const std::int64_t token = s * kTileTokens;
        const std::int64_t tokens = std::min(kTileTokens, x.rows - token);
        multiply_panel({y.data + token * y.cols, tokens, y.cols}, weight, {x.data + token * n, tokens, n},
                       store, first, rows, w);
      }
    }
  }
}

}  // namespace

void weight_rows(const Linear& weight, std::int64_t first, std::int64_t rows, float* out) {
  if (const auto* packed = std::get_if<SpqrMatrix>(&weight.weight)) {
    dequantize_rows(*packed, first, rows, out);
  } else {
    dense_rows(std::get<TensorView>(weight.weight), first, rows, out);
  }
}

void linear(Matrix y, const Linear& weight, Matrix x, Store store) {
  if (x.rows > kFewTokens) {
    linear_many(y, weight, x, store);
  } else if (const auto* packed = std::get_if<SpqrMatrix>(&weight.weight)) {
    packed_few(y, weight, *packed, x, store);
  } else {
    dense_few(y, weight, std::get<TensorView>(weight.weight), x, store);
  }
}

}  // namespace spqr::cpu
