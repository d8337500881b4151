// Every operation of kernels/backend.h, one token after the other, scalar, sums in double: the specification.
// Shapes are those of backend.h; row t of a Matrix is token t.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/backend.h"

namespace spqr::reference {

// Row `row` of a weight, f32 (n), in the stored column order.
void weight_row(const Linear& weight, std::int64_t row, float* out);

// x[t] = table[ids[t]]
void embed(Matrix x, const Linear& table, std::span<const std::int32_t> ids);

// Each run of norm.weight.size() values of a row: y = x / sqrt(mean(x^2) + eps) * weight. y may be x.
void rms_norm(Matrix y, Matrix x, const Norm& norm);

// Each row: y = (x - mean(x)) / sqrt(variance(x) + eps) * weight + bias. y may be x.
void layer_norm(Matrix y, Matrix x, const Norm& norm);

// y = W x + b, with x gathered by perm where W is packed and perm is not empty.
void linear(Matrix y, const Linear& weight, std::span<const std::uint32_t> perm, Matrix x);

// Rotates each head's pairs (i, i + head_dim / 2) by (first + t) * inverse_frequency[i], in place.
void rope(Matrix x, const Rope& rope, std::int64_t head_dim, std::int64_t first);

// Stores k, v (tokens, kv_heads * head_dim) at rows first .. of the cache.
void append(const KvLayer& cache, Matrix k, Matrix v, std::int64_t first);

// out = softmax(scale q k^T + alibi) v over the cache rows each token sees.
void attention(Matrix out, Matrix q, const KvLayer& cache, std::int64_t first, const AttentionShape& shape);

// h = gate / (1 + exp(-gate)) * up
void swiglu(Matrix h, Matrix gate, Matrix up);

// h = x (1 + erf(x / sqrt(2))) / 2
void gelu(Matrix h, Matrix x);

}  // namespace spqr::reference
