#include "kernels/cpu/spqr_matmul.h"

#include <algorithm>
#include <vector>

#include "kernels/cpu/kernel_tables.h"
#include "kernels/threads.h"

namespace spqr {
namespace {

// Below this one thread is faster than waking others.
constexpr std::size_t kMinParallelBytes = 16 * 1024;

// Tokens for which a strip's sums are kept on the stack.
constexpr std::int64_t kTokens = 16;

// y (+)= sums + bias for the rows of a strip.   sums (tokens, 64)
void store_strip(const SpqrProduct& product, const SpqrLayout& layout, std::int64_t strip, std::int64_t token,
                 std::int64_t tokens, const float* sums) {
  const std::int64_t first = strip * SpqrLayout::kStripRows;
  const std::int64_t height = layout.strip_height(strip);
  for (std::int64_t t = 0; t < tokens; ++t, sums += SpqrLayout::kStripRows) {
    float* y = product.y + (token + t) * product.w->m + first;
    for (std::int64_t i = 0; i < height; ++i) {
      const float value =
          product.bias.empty() ? sums[i] : sums[i] + product.bias[static_cast<std::size_t>(first + i)];
      y[i] = product.add ? y[i] + value : value;
    }
  }
}

// One strip of one of the products: read from memory once, and then again from the cache.
void multiply_strip(const SpqrStripKernels& kernels, const SpqrProduct& product, const SpqrLayout& layout,
                    std::int64_t strip, const SpqrInputView& x, ActivationType activations) {
  const auto multiply =
      activations == ActivationType::automatic ? kernels.multiply_int16 : kernels.multiply_f32;
  alignas(64) float sums[kTokens * SpqrLayout::kStripRows];
  for (std::int64_t token = 0; token < x.tokens; token += kTokens) {
    const std::int64_t tokens = std::min(kTokens, x.tokens - token);
    multiply(*product.w, layout, strip, x.part(token, tokens), sums);
    store_strip(product, layout, strip, token, tokens, sums);
  }
}

// Products that read x in the same groups, and their strips one after the other.
class AlikeProducts {
 public:
  AlikeProducts(const SpqrStripKernels& kernels, std::span<const SpqrProduct> products,
                const SpqrInputView& x, ActivationType activations)
      : kernels_(kernels), products_(products), x_(x), activations_(activations) {
    for (const SpqrProduct& product : products) {
      layouts_.emplace_back(product.w->format, product.w->m, product.w->n);
      strips_ += layouts_.back().strips();
      bytes_ += product.w->bytes();
    }
  }

  void run() const {
    if (bytes_ < kMinParallelBytes) {
      Indices all = Indices::all(strips_);
      multiply_strips(all);
    } else {
      parallel(strips_, [&](Indices& mine) { multiply_strips(mine); });
    }
  }

 private:
  // Strips of one product, one after the other.
  struct Run {
    std::size_t product = 0;
    std::int64_t first = 0, last = 0;
  };

  // Outliers come when a run of strips is through: they read x in another way, which the codes would drive
  // out of the cache.
  void multiply_strips(Indices& mine) const {
    Run run;
    while (mine.next()) {
      std::size_t product = 0;
      std::int64_t strip = mine.index();
      for (; strip >= layouts_[product].strips(); ++product) strip -= layouts_[product].strips();
      if (product != run.product || strip != run.last) {
        add_outliers(run);
        run = {product, strip, strip};
      }
      multiply_strip(kernels_, products_[product], layouts_[product], strip, x_, activations_);
      ++run.last;
    }
    add_outliers(run);
  }

  void add_outliers(const Run& run) const {
    const SpqrMatrix& w = *products_[run.product].w;
    if (run.first == run.last || w.row_offsets.empty()) return;
    constexpr std::int64_t kRows = SpqrLayout::kStripRows;
    kernels_.add_outliers(w, run.first * kRows, std::min(run.last * kRows, w.m), x_, products_[run.product].y,
                          w.m);
  }

  const SpqrStripKernels& kernels_;
  std::span<const SpqrProduct> products_;
  const SpqrInputView& x_;
  ActivationType activations_;
  std::vector<SpqrLayout> layouts_;
  std::int64_t strips_ = 0;
  std::size_t bytes_ = 0;
};

}  // namespace

void spqr_matmul(const KernelTables& kernels, std::span<const SpqrProduct> products, Matrix x,
                 ActivationType activations, SpqrInput& input) {
  while (!products.empty()) {
    const SpqrMatrix& first = *products.front().w;
    const std::int64_t columns = block_group_columns(first.format, first.n);
    std::size_t alike = 1;
    while (alike < products.size() && block_group_columns(products[alike].w->format, first.n) == columns)
      ++alike;
    const bool outliers =
        std::any_of(products.begin(), products.begin() + static_cast<std::ptrdiff_t>(alike),
                    [](const SpqrProduct& product) { return !product.w->row_offsets.empty(); });
    input.assign(kernels, first.format, x, activations, outliers);
    AlikeProducts(kernels.strips, products.first(alike), input.view(), activations).run();
    products = products.subspan(alike);
  }
}

void dequantize_rows(const SpqrStripKernels& kernels, const SpqrMatrix& w, std::int64_t first_row,
                     std::int64_t rows, float* out) {
  const SpqrLayout layout(w.format, w.m, w.n);
  const std::int64_t end = first_row + rows;
  const std::int64_t first_strip = first_row / SpqrLayout::kStripRows;
  const std::int64_t end_strip = (end + SpqrLayout::kStripRows - 1) / SpqrLayout::kStripRows;
  parallel_for(end_strip - first_strip, [&](std::int64_t i) {
    const std::int64_t strip = first_strip + i;
    const std::int64_t strip_row = strip * SpqrLayout::kStripRows;
    const std::int64_t first = std::max(first_row, strip_row);
    const std::int64_t last = std::min(end, strip_row + SpqrLayout::kStripRows);
    kernels.dequantize(w, layout, strip, first - strip_row, last - strip_row,
                       out + (first - first_row) * w.n);
  });
}

}  // namespace spqr
