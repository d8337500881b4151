// Per-matrix solvers: weights, second moments of the inputs and options in, an SpqrParts out.
// Source: arXiv 2306.03078 algorithm 1; arXiv 2210.17323 (GPTQ); docs/design/quantizer.md.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kernels/spqr_format.h"

namespace spqr {

enum class PermutationOrder : std::uint8_t { identity, act_order };

struct QuantizeOptions {
  SpqrFormat format;
  // Multiplies mean_j(var_i(W_ij) / d_j^2); lower means more outliers; infinity: none.
  double outlier_threshold = 0.2;
  bool simplified_outliers = false;  // no leave-one-out search at group starts
  bool round_zero = false;           // zero points are integers
  PermutationOrder permutation = PermutationOrder::act_order;
  double damp = 1.0;  // added to the diagonal, in units of its mean
};

// What is common to all matrices that read one input and to all thresholds: the damped Hessian's order and
// the upper Cholesky factor U of its inverse. Costs O(n^3), once.
struct Hessian {
  std::int64_t n = 0;
  std::vector<std::uint32_t> perm;    // (n): column j below is column perm[j] of W; empty: identity
  std::vector<float> inverse_factor;  // U (n, n) row-major, upper triangular, permuted order
  std::vector<std::uint8_t> dead;     // (n) permuted order, 1 where no input ever was non-zero
};

// h (n, n) = 2/N sum x x^T, f32 row-major. Throws std::runtime_error if it is not positive definite after
// damping.
Hessian prepare_hessian(std::span<const float> h, std::int64_t n, PermutationOrder order, double damp);

// SpQR; GPTQ is this with unquantized statistics and outlier_threshold = infinity.   w (m, n) f32 row-major.
SpqrParts quantize_spqr(std::span<const float> w, std::int64_t m, std::int64_t n, const Hessian& hessian,
                        const QuantizeOptions& options);

// Round to nearest: no Hessian, unquantized statistics, identity order.
SpqrParts quantize_rtn(std::span<const float> w, std::int64_t m, std::int64_t n, const SpqrFormat& format);

// tr(D H D^T) / tr(W H W^T), D = quantized - w, h undamped. 0 if the denominator is.
double relative_error(std::span<const float> w, std::span<const float> quantized, std::span<const float> h,
                      std::int64_t m, std::int64_t n);

}  // namespace spqr
