// H^-1 = U^T U with U upper triangular, without forming H^-1: with P the reversal of the order, P H P = L L^T
// gives H = V V^T with V = P L P upper triangular, and U = V^-1 = P L^-1 P. One Cholesky and one triangular
// inverse, 2/3 n^3 multiply-adds in double precision; blocks of fixed size, so the result does not depend on
// the number of threads.
#include <cblas.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <string>

#include "kernels/blas_threads.h"
#include "kernels/quantize/checks.h"
#include "kernels/quantize/quantize.h"
#include "kernels/threads.h"

namespace spqr {

namespace {

constexpr std::int64_t kBlock = 64;
constexpr std::int64_t kWorthThreads =
    1024;  // columns; below, threads wait for each other longer than they work

// A square row-major matrix of doubles; only its lower triangle is used.
struct SquareMatrix {
  std::int64_t n;
  std::vector<double> data = std::vector<double>(static_cast<std::size_t>(n) * static_cast<std::size_t>(n));

  double* at(std::int64_t i, std::int64_t j) { return data.data() + i * n + j; }
  const double* at(std::int64_t i, std::int64_t j) const { return data.data() + i * n + j; }
};

int blas_int(std::int64_t value) {
  return static_cast<int>(value);
}

// A = L L^T of one block on the diagonal, in place. False if it is not positive definite.
bool factor_diagonal_block(SquareMatrix& a, std::int64_t first, std::int64_t size) {
  for (std::int64_t j = first; j < first + size; ++j) {
    for (std::int64_t i = j; i < first + size; ++i) {
      double sum = *a.at(i, j);
      for (std::int64_t k = first; k < j; ++k) sum -= *a.at(i, k) * *a.at(j, k);
      if (i > j) {
        *a.at(i, j) = sum / *a.at(j, j);
      } else {
        if (!(sum > 0.0) || !std::isfinite(sum)) return false;
        *a.at(j, j) = std::sqrt(sum);
      }
    }
  }
  return true;
}

// Blocked right-looking Cholesky of the lower triangle, in place. False if the matrix is not positive
// definite.
bool cholesky(SquareMatrix& a) {
  for (std::int64_t k = 0; k < a.n; k += kBlock) {
    const std::int64_t size = std::min(kBlock, a.n - k);
    const std::int64_t next = k + size;
    if (!factor_diagonal_block(a, k, size)) return false;
    const std::int64_t blocks = (a.n - next + kBlock - 1) / kBlock;
    const auto solve_block = [&](std::int64_t block) {
      const std::int64_t i = next + block * kBlock;
      cblas_dtrsm(CblasRowMajor, CblasRight, CblasLower, CblasTrans, CblasNonUnit,
                  blas_int(std::min(kBlock, a.n - i)), blas_int(size), 1.0, a.at(k, k), blas_int(a.n),
                  a.at(i, k), blas_int(a.n));
    };
    const auto update_block = [&](std::int64_t block) {
      const std::int64_t i = next + block * kBlock;
      const std::int64_t rows = std::min(kBlock, a.n - i);
      cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, blas_int(rows), blas_int(i + rows - next),
                  blas_int(size), -1.0, a.at(i, k), blas_int(a.n), a.at(next, k), blas_int(a.n), 1.0,
                  a.at(i, next), blas_int(a.n));
    };
    parallel_for(blocks, solve_block, a.n >= kWorthThreads);
    parallel_for(blocks, update_block, a.n >= kWorthThreads);
  }
  return true;
}

// Columns [first, first + size) of L^-1, rows from `first` on: x (n - first, size), row-major.
void invert_block_column(const SquareMatrix& l, std::int64_t first, std::int64_t size,
                         std::vector<double>& x) {
  x.assign(static_cast<std::size_t>(l.n - first) * static_cast<std::size_t>(size), 0.0);
  const int width = blas_int(size);
  for (std::int64_t j = 0; j < size; ++j) x[j * size + j] = 1.0;
  for (std::int64_t i = first; i < l.n; i += kBlock) {
    const int rows = blas_int(std::min(kBlock, l.n - i));
    double* xi = x.data() + (i - first) * size;
    if (i > first) {
      cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, rows, width, blas_int(i - first), -1.0,
                  l.at(i, first), blas_int(l.n), x.data(), width, 0.0, xi, width);
    }
    cblas_dtrsm(CblasRowMajor, CblasLeft, CblasLower, CblasNoTrans, CblasNonUnit, rows, width, 1.0,
                l.at(i, i), blas_int(l.n), xi, width);
  }
}

// U = P L^-1 P, f32.
std::vector<float> reversed_inverse(const SquareMatrix& l) {
  const std::int64_t n = l.n;
  std::vector<float> u(l.data.size());
  const auto invert_columns = [&](std::int64_t block) {
    const std::int64_t first = block * kBlock;
    const std::int64_t size = std::min(kBlock, n - first);
    std::vector<double> x;
    invert_block_column(l, first, size, x);
    for (std::int64_t i = first; i < n; ++i) {
      for (std::int64_t j = first; j < std::min(first + size, i + 1); ++j) {
        u[(n - 1 - i) * n + (n - 1 - j)] = static_cast<float>(x[(i - first) * size + (j - first)]);
      }
    }
  };
  parallel_for((n + kBlock - 1) / kBlock, invert_columns, n >= kWorthThreads);
  return u;
}

// Descending diagonal; equal ones keep their order.
std::vector<std::uint32_t> act_order(std::span<const float> h, std::int64_t n) {
  std::vector<std::uint32_t> perm(static_cast<std::size_t>(n));
  std::iota(perm.begin(), perm.end(), 0U);
  std::stable_sort(perm.begin(), perm.end(),
                   [&](std::int64_t a, std::int64_t b) { return h[a * n + a] > h[b * n + b]; });
  return perm;
}

// Reversed, permuted and damped copy of H; dead columns get a diagonal of exactly 1.
SquareMatrix damped(std::span<const float> h, std::int64_t n, double damp, const Hessian& result) {
  double mean = 0.0;
  for (std::int64_t i = 0; i < n; ++i)
    mean += std::abs(static_cast<double>(h[i * n + i])) / static_cast<double>(n);
  const auto source = [&](std::int64_t i) {
    return result.perm.empty() ? n - 1 - i : static_cast<std::int64_t>(result.perm[n - 1 - i]);
  };
  SquareMatrix a{n};
  const auto copy_row = [&](std::int64_t i) {
    const float* row = h.data() + source(i) * n;
    for (std::int64_t j = 0; j <= i; ++j) *a.at(i, j) = row[source(j)];
    *a.at(i, i) = result.dead[n - 1 - i] != 0 ? 1.0 : *a.at(i, i) + damp * mean;
  };
  parallel_for(n, copy_row, n >= kWorthThreads);
  return a;
}

}  // namespace

Hessian prepare_hessian(std::span<const float> h, std::int64_t n, PermutationOrder order, double damp) {
  check_shape(h, n, n, "the Hessian");
  check_finite(h, n, "the Hessian");
  if (n > std::numeric_limits<int>::max() / 2)
    throw std::invalid_argument("the Hessian has too many columns");
  if (!(damp >= 0.0) || !std::isfinite(damp))
    throw std::invalid_argument("damp must be a number of at least 0");
  Hessian result;
  result.n = n;
  if (order == PermutationOrder::act_order) result.perm = act_order(h, n);
  result.dead.resize(static_cast<std::size_t>(n));
  for (std::int64_t j = 0; j < n; ++j) {
    const std::int64_t column = result.perm.empty() ? j : result.perm[j];
    result.dead[j] = h[column * n + column] == 0.0F ? 1 : 0;
  }
  const SingleThreadedBlas single_threaded;
  SquareMatrix a = damped(h, n, damp, result);
  if (!cholesky(a)) {
    throw std::runtime_error("the Hessian (" + std::to_string(n) + " x " + std::to_string(n) +
                             ") is not positive definite with damp " + std::to_string(damp) +
                             ": use more calibration data or a larger damp");
  }
  result.inverse_factor = reversed_inverse(a);
  return result;
}

}  // namespace spqr
