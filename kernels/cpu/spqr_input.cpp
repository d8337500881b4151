#include "kernels/cpu/spqr_input.h"

#include <numeric>

#include "kernels/cpu/grown.h"
#include "kernels/cpu/kernel_tables.h"
#include "kernels/threads.h"

namespace spqr {
namespace {

constexpr std::int64_t kTogether = SpqrInputView::kTogether;
static_assert(kTogether == cpu::kPanelCols);

// Below this one thread is faster than waking others.
constexpr std::int64_t kMinParallelInput = 32 * 1024;

void sum_groups(const float* x, std::int64_t group_columns, float* sums) {
  for (std::int64_t first = 0; first < kBlockColumns; first += group_columns, ++sums) {
    const std::int64_t end = std::min(first + group_columns, kBlockColumns);
    *sums = std::accumulate(x + first, x + end, 0.0F);
  }
}

}  // namespace

void SpqrInput::assign(const KernelTables& kernels, const SpqrFormat& format, Matrix x,
                       ActivationType activations, bool outliers) {
  const std::int64_t group_columns = block_group_columns(format, x.cols);
  const std::int64_t blocks = (x.cols + kBlockColumns - 1) / kBlockColumns;
  const std::int64_t columns = blocks * kBlockColumns;
  const std::int64_t sums_per_block = (kBlockColumns + group_columns - 1) / group_columns;
  const std::int64_t sixteens = outliers ? x.rows / kTogether : 0;
  const bool codes = activations == ActivationType::automatic;
  view_ = {.tokens = x.rows,
           .columns = columns,
           .x = grown(x_, x.rows * columns),
           .sixteens = sixteens,
           .together = grown(together_, sixteens * kTogether * columns),
           .sums_per_block = sums_per_block,
           .sums = grown(sums_, x.rows * blocks * sums_per_block),
           .codes = grown(codes_, codes ? 2 * x.rows * columns : 0),
           .scales = grown(scales_, codes ? x.rows * blocks : 0)};
  const bool worth = x.rows * x.cols >= kMinParallelInput;
  const auto assign_block = [&](std::int64_t i) {
    const std::int64_t t = i / blocks;
    const std::int64_t first = i % blocks * kBlockColumns;
    const std::int64_t count = std::min(kBlockColumns, x.cols - first);
    float* padded = x_.data() + t * columns + first;
    std::copy_n(x.data + t * x.cols + first, count, padded);
    std::fill(padded + count, padded + kBlockColumns, 0.0F);
    float* sums = sums_.data() + i * sums_per_block;
    if (codes) {
      scales_[static_cast<std::size_t>(i)] =
          kernels.strips.round_block(padded, group_columns, codes_.data() + 2 * (t * columns + first), sums);
    } else {
      sum_groups(padded, group_columns, sums);
    }
  };
  parallel_for(x.rows * blocks, assign_block, worth);
  const auto put_together = [&](std::int64_t i) {
    const std::int64_t first = i * kTogether * columns;
    kernels.vectors.transpose_panel(together_.data() + first, x_.data() + first, columns, kTogether);
  };
  parallel_for(sixteens, put_together, worth);
}

std::int64_t SpqrInput::most_floats(std::int64_t n, std::int64_t tokens) {
  const std::int64_t blocks = (n + kBlockColumns - 1) / kBlockColumns;
  const std::int64_t x_and_codes = 2 * kBlockColumns + kBlockColumns / 2;
  const std::int64_t sums_and_scale = kBlockColumns / 8 + 1;
  return tokens * blocks * (x_and_codes + sums_and_scale);
}

}  // namespace spqr
