#include "kernels/cpu/spqr_matvec.h"

#include <algorithm>

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

void SpqrInput::assign(const SpqrStripKernels& kernels, const SpqrFormat& format, const float* x,
                       std::int64_t n, ActivationType activations) {
  constexpr std::int64_t kColumns = SpqrLayout::kUnitColumns;
  const SpqrSpans spans(format, n, activations);
  const auto padded = static_cast<std::size_t>((n + kColumns - 1) / kColumns * kColumns);
  span_columns_ = spans.columns;
  x_.resize(padded);
  std::copy_n(x, n, x_.begin());
  std::fill(x_.begin() + n, x_.end(), 0.0F);
  sums_.assign(static_cast<std::size_t>(spans.count), 0.0F);
  if (activations == ActivationType::f32) {
    for (std::int64_t j = 0; j < n; ++j) sums_[static_cast<std::size_t>(j / spans.columns)] += x[j];
    return;
  }
  codes_.resize(padded);
  scales_.resize(static_cast<std::size_t>(spans.count));
  kernels.round_input(x_.data(), n, spans.columns, codes_.data(), scales_.data(), sums_.data());
}

namespace {

// One strip of one of the products.
void multiply_strip(const SpqrStripKernels& kernels, const SpqrProduct& product, std::int64_t strip,
                    const SpqrInputView& x, ActivationType activations) {
  const SpqrMatrix& w = *product.w;
  const SpqrLayout layout(w.format, w.m, w.n);
  alignas(64) float rows[SpqrLayout::kStripRows];
  (activations == ActivationType::int8 ? kernels.matvec_int8 : kernels.matvec)(w, layout, strip, x, rows);
  const std::int64_t first = strip * SpqrLayout::kStripRows;
  const std::int64_t height = layout.strip_height(strip);
  if (!product.bias.empty()) {
    for (std::int64_t i = 0; i < height; ++i) rows[i] += product.bias[static_cast<std::size_t>(first + i)];
  }
  float* y = product.y + first;
  for (std::int64_t i = 0; i < height; ++i) y[i] = product.add ? y[i] + rows[i] : rows[i];
}

std::int64_t strips_of(const SpqrProduct& product) {
  return (product.w->m + SpqrLayout::kStripRows - 1) / SpqrLayout::kStripRows;
}

// Those that read x in the same spans.
void multiply_alike(const SpqrStripKernels& kernels, std::span<const SpqrProduct> products,
                    const SpqrInputView& x, ActivationType activations) {
  std::int64_t strips = 0;
  std::size_t bytes = 0;
  for (const SpqrProduct& product : products) {
    strips += strips_of(product);
    bytes += product.w->bytes();
  }
#pragma omp parallel for schedule(static) if (bytes >= kMinParallelBytes)
  for (std::int64_t i = 0; i < strips; ++i) {
    std::int64_t strip = i;
    const SpqrProduct* product = products.data();
    for (; strip >= strips_of(*product); ++product) strip -= strips_of(*product);
    multiply_strip(kernels, *product, strip, x, activations);
  }
}

}  // namespace

void spqr_matvec(const SpqrStripKernels& kernels, std::span<const SpqrProduct> products, const float* x,
                 ActivationType activations, SpqrInput& input) {
  while (!products.empty()) {
    const SpqrMatrix& first = *products.front().w;
    const std::int64_t columns = SpqrSpans(first.format, first.n, activations).columns;
    std::size_t alike = 1;
    while (alike < products.size() &&
           SpqrSpans(products[alike].w->format, first.n, activations).columns == columns)
      ++alike;
    input.assign(kernels, first.format, x, first.n, activations);
    multiply_alike(kernels, products.first(alike), input.view(), activations);
    products = products.subspan(alike);
  }
}

void spqr_matvec(std::span<const SpqrProduct> products, const float* x, ActivationType activations,
                 SpqrInput& input) {
  spqr_matvec(*spqr_strip_kernels().front(), products, x, activations, input);
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
