#include "kernels/cpu/spqr_matvec.h"

#include <algorithm>
#include <vector>

#include "kernels/cpu/spqr_strip.h"

namespace spqr {
namespace {

// Below this one thread is faster than waking others.
constexpr std::size_t kMinParallelBytes = 16 * 1024;

struct AllKernels {
  const SpqrStripKernels* best_first[2];
  std::size_t count = 0;
  AllKernels() {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
      best_first[count++] = &kSpqrStripAvx2;
#endif
    best_first[count++] = &kSpqrStripPortable;
  }
};

}  // namespace

std::span<const SpqrStripKernels* const> spqr_strip_kernels() {
  static const AllKernels kernels;
  return {kernels.best_first, kernels.count};
}

void spqr_matvec(const SpqrStripKernels& kernels, const SpqrMatrix& w, const float* x, float* y) {
  const SpqrLayout layout(w.format, w.m, w.n);
  const SpqrSpans spans(w);
  std::vector<float> padded(static_cast<std::size_t>(layout.units() * SpqrLayout::kUnitColumns));
  std::copy_n(x, w.n, padded.begin());
  std::vector<float> sums(static_cast<std::size_t>(spans.count));
  for (std::int64_t j = 0; j < w.n; ++j) sums[j / spans.columns] += x[j];
#pragma omp parallel for schedule(dynamic) if (w.dense.size() >= kMinParallelBytes)
  for (std::int64_t strip = 0; strip < layout.strips(); ++strip) {
    kernels.matvec(w, layout, strip, padded.data(), sums.data(), y + strip * SpqrLayout::kStripRows);
  }
}

void spqr_matvec(const SpqrMatrix& w, const float* x, float* y) {
  spqr_matvec(*spqr_strip_kernels().front(), w, x, y);
}

void dequantize_rows(const SpqrStripKernels& kernels, const SpqrMatrix& w, std::int64_t first_row,
                     std::int64_t rows, float* out) {
  const SpqrLayout layout(w.format, w.m, w.n);
  const std::int64_t end = first_row + rows;
  const std::int64_t first_strip = first_row / SpqrLayout::kStripRows;
  const std::int64_t end_strip = (end + SpqrLayout::kStripRows - 1) / SpqrLayout::kStripRows;
#pragma omp parallel for schedule(dynamic) if (end_strip - first_strip > 1)
  for (std::int64_t strip = first_strip; strip < end_strip; ++strip) {
    const std::int64_t strip_row = strip * SpqrLayout::kStripRows;
    const std::int64_t first = std::max(first_row, strip_row);
    const std::int64_t last = std::min(end, strip_row + SpqrLayout::kStripRows);
    kernels.dequantize(w, layout, strip, first - strip_row, last - strip_row,
                       out + (first - first_row) * w.n);
  }
}

void dequantize_rows(const SpqrMatrix& w, std::int64_t first_row, std::int64_t rows, float* out) {
  dequantize_rows(*spqr_strip_kernels().front(), w, first_row, rows, out);
}

}  // namespace spqr
