// The weights a forward pass multiplies with: dense or packed, alone or as a group that reads one input.
#pragma once

#include <cstdint>
#include <span>
#include <variant>
#include <vector>

#include "kernels/spqr_matrix.h"
#include "kernels/tensor.h"

namespace spqr {

// y = W x + bias.   W (m, n): f32, f16 or bf16, or packed.   bias (m) f32 or empty.
struct Linear {
  std::variant<TensorView, SpqrMatrix> weight;
  std::span<const float> bias;

  std::int64_t m() const;     // out_features
  std::int64_t n() const;     // in_features
  std::size_t bytes() const;  // read per token by a matrix-vector product
};

// Projections of the same input (q, k, v; gate, up; or a single one). If `perm` is not empty (n entries),
// every packed member's column j multiplies x[perm[j]]; dense members are in the original order.
struct LinearGroup {
  std::vector<Linear> members;
  std::span<const std::uint32_t> perm;

  std::size_t bytes() const;
};

// RMSNorm: y = x / sqrt(mean(x^2) + eps) * weight; or, if it has a bias, LayerNorm:
// y = (x - mean(x)) / sqrt(variance(x) + eps) * weight + bias.   weight (n), bias (n) f32
struct Norm {
  std::span<const float> weight;
  float eps = 1e-5F;
  std::span<const float> bias = {};

  bool is_layer_norm() const { return !bias.empty(); }
  std::size_t bytes() const { return weight.size_bytes() + bias.size_bytes(); }
};

}  // namespace spqr
