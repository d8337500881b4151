// y = W x + b.   W (m, n) dense or packed, x (tokens, n), y (tokens, m), b (m) or none.
// Reads W once per call; sums in double.
#include <cstring>
#include <vector>

#include "kernels/half.h"
#include "kernels/reference/operations.h"

namespace spqr::reference {
namespace {

void dense_row(const TensorView& weight, std::int64_t row, float* out) {
  const std::int64_t n = weight.shape.at(1);
  const std::size_t begin = static_cast<std::size_t>(row * n);
  if (weight.dtype == DType::f32) {
    std::memcpy(out, static_cast<const float*>(weight.data) + begin,
                static_cast<std::size_t>(n) * sizeof(float));
    return;
  }
  const auto* values = static_cast<const std::uint16_t*>(weight.data) + begin;
  for (std::int64_t j = 0; j < n; ++j) {
    out[j] = weight.dtype == DType::f16 ? f16_to_f32(values[j]) : bf16_to_f32(values[j]);
  }
}

}  // namespace

void weight_row(const Linear& weight, std::int64_t row, float* out) {
  if (const auto* packed = std::get_if<SpqrMatrix>(&weight.weight)) {
    dequantize_row(*packed, row, out);
  } else {
    dense_row(std::get<TensorView>(weight.weight), row, out);
  }
}

void linear(Matrix y, const Linear& weight, std::span<const std::uint32_t> perm, Matrix x) {
  const std::int64_t n = weight.n();
  const bool gather = !perm.empty() && std::holds_alternative<SpqrMatrix>(weight.weight);
  std::vector<float> row(static_cast<std::size_t>(n));
  for (std::int64_t i = 0; i < weight.m(); ++i) {
    weight_row(weight, i, row.data());
    for (std::int64_t t = 0; t < x.rows; ++t) {
      const float* input = x.data + t * n;
      double sum = weight.bias.empty() ? 0.0 : static_cast<double>(weight.bias[static_cast<std::size_t>(i)]);
      for (std::int64_t j = 0; j < n; ++j) {
        const std::int64_t column = gather ? perm[static_cast<std::size_t>(j)] : j;
        sum += static_cast<double>(row[static_cast<std::size_t>(j)]) * input[column];
      }
      y.data[t * y.cols + i] = static_cast<float>(sum);
    }
  }
}

}  // namespace spqr::reference
