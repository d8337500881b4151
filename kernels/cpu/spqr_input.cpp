#include "kernels/cpu/spqr_input.h"

#include <numeric>

#include "kernels/cpu/spqr_strip.h"
#include "kernels/threads.h"

namespace spqr {
namespace {

// Below this one thread is faster than waking others.
constexpr std::int64_t kMinParallelInput = 32 * 1024;

void sum_groups(const float* x, std::int64_t group_columns, float* sums) {
  for (std::int64_t first = 0; first < kBlockColumns; first += group_columns, ++sums) {
    const std::int64_t end = std::min(first + group_columns, kBlockColumns);
    *sums = std::accumulate(x + first, x + end, 0.0F);
  }
}

}  // namespace

void SpqrInput::assign(const SpqrStripKernels& kernels, const SpqrFormat& format, Matrix x,
                       ActivationType activations) {
  const std::int64_t group_columns = block_group_columns(format, x.cols);
  const std::int64_t blocks = (x.cols + kBlockColumns - 1) / kBlockColumns;
  const std::int64_t columns = blocks * kBlockColumns;
  const std::int64_t sums_per_block = (kBlockColumns + group_columns - 1) / group_columns;
  x_.resize(static_cast<std::size_t>(x.rows * columns));
  sums_.resize(static_cast<std::size_t>(x.rows * blocks * sums_per_block));
  if (activations == ActivationType::int16) {
    codes_.resize(static_cast<std::size_t>(2 * x.rows * columns));
    scales_.resize(static_cast<std::size_t>(x.rows * blocks));
  }
  view_ = {.tokens = x.rows,
           .columns = columns,
           .x = x_.data(),
           .sums_per_block = sums_per_block,
           .sums = sums_.data(),
           .codes = codes_.data(),
           .scales = scales_.data()};
  const auto assign_block = [&](std::int64_t i) {
    const std::int64_t t = i / blocks;
    const std::int64_t first = i % blocks * kBlockColumns;
    const std::int64_t count = std::min(kBlockColumns, x.cols - first);
    float* padded = x_.data() + t * columns + first;
    std::copy_n(x.data + t * x.cols + first, count, padded);
    std::fill(padded + count, padded + kBlockColumns, 0.0F);
    float* sums = sums_.data() + i * sums_per_block;
    if (activations == ActivationType::int16) {
      scales_[static_cast<std::size_t>(i)] =
          kernels.round_block(padded, group_columns, codes_.data() + 2 * (t * columns + first), sums);
    } else {
      sum_groups(padded, group_columns, sums);
    }
  };
  parallel_for(x.rows * blocks, assign_block, x.rows * x.cols >= kMinParallelInput);
}

std::int64_t SpqrInput::most_floats(std::int64_t n, std::int64_t tokens) {
  const std::int64_t blocks = (n + kBlockColumns - 1) / kBlockColumns;
  const std::int64_t x_and_codes = kBlockColumns + kBlockColumns / 2;
  const std::int64_t sums_and_scale = kBlockColumns / 8 + 1;
  return tokens * blocks * (x_and_codes + sums_and_scale);
}

}  // namespace spqr
