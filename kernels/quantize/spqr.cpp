// Columns from left to right; each one's error is spread over the columns to its right. Rows only meet in
// second-level groups, so tiles of rows are solved independently, each with its columns in nested blocks:
// errors travel column by column within kChunk columns, and as matrix products beyond.
#include <cblas.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

#include "kernels/blas_threads.h"
#include "kernels/half.h"
#include "kernels/quantize/checks.h"
#include "kernels/quantize/group_statistics.h"
#include "kernels/quantize/quantize.h"
#include "kernels/quantize/row_tile.h"
#include "kernels/threads.h"

namespace spqr {

namespace {

constexpr std::int64_t kBlock = 128;
constexpr std::int64_t kChunk = RowTile::kCodeColumns;
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kLargestF16 = 65504.0F;

struct Outlier {
  std::uint16_t column;
  float value;
};

// One matrix on its way: what is given, and what tiles of rows fill in.
struct Task {
  std::span<const float> w;
  const Hessian& hessian;
  const QuantizeOptions& options;
  float threshold = kInfinity;  // T: squared, Hessian-weighted error above which a weight is an outlier
  std::vector<float> inverse_variance;  // (n) 1 / d^2
  SpqrParts parts;
  std::vector<std::vector<Outlier>> outliers;  // (m)
};

// Variance over the rows (m > 1) of columns [begin, end) of W, in its own order.
void column_variances(std::span<const float> w, std::int64_t m, std::int64_t n, std::int64_t begin,
                      std::int64_t end, double* variance) {
  std::vector<double> mean(static_cast<std::size_t>(end - begin));
  std::vector<double> sum(mean.size());
  for (std::int64_t i = 0; i < m; ++i) {
    const float* row = w.data() + i * n;
    for (std::int64_t j = begin; j < end; ++j) mean[j - begin] += row[j];
  }
  for (double& x : mean) x /= static_cast<double>(m);
  for (std::int64_t i = 0; i < m; ++i) {
    const float* row = w.data() + i * n;
    for (std::int64_t j = begin; j < end; ++j) {
      const double difference = row[j] - mean[j - begin];
      sum[j - begin] += difference * difference;
    }
  }
  for (std::int64_t j = begin; j < end; ++j) variance[j] = sum[j - begin] / static_cast<double>(m - 1);
}

// T = outlier_threshold * mean over columns of (variance over rows / d^2); a single row has no variance, nor
// outliers.
float squared_error_threshold(const Task& task) {
  const std::int64_t m = task.parts.m;
  const std::int64_t n = task.parts.n;
  if (std::isinf(task.options.outlier_threshold) || m == 1) return kInfinity;
  constexpr std::int64_t kColumns = 128;
  std::vector<double> variance(static_cast<std::size_t>(n));
  parallel_for((n + kColumns - 1) / kColumns, [&](std::int64_t i) {
    column_variances(task.w, m, n, i * kColumns, std::min((i + 1) * kColumns, n), variance.data());
  });
  double sum = 0.0;
  for (std::int64_t j = 0; j < n; ++j) {
    if (task.hessian.dead[j] != 0) continue;
    sum += variance[task.hessian.perm.empty() ? j : task.hessian.perm[j]] * task.inverse_variance[j];
  }
  return static_cast<float>(task.options.outlier_threshold * sum / static_cast<double>(n));
}

// An outlier as dense value of its code and an f16 beside it.
struct SplitWeight {
  float code;
  float addend;
};

// Takes the code of 0, unless the rounding of the addend then exceeds that of w itself (where the range of
// the group is far from 0): then the code that leaves the smallest error.
SplitWeight split_outlier(float w, float scale, float zero, float zero_code, float largest) {
  const auto addend = [&](float code) {
    return round_to_f16(std::clamp(w - scale * (code - zero), -kLargestF16, kLargestF16));
  };
  const auto error = [&](float code) { return std::abs(w - (scale * (code - zero) + addend(code))); };
  float best = zero_code;
  float least = error(zero_code);
  if (least <= 0x1p-12F * std::abs(w)) return {best, addend(best)};
  for (float code = 0.0F; code <= largest; code += 1.0F) {
    if (error(code) >= least) continue;
    best = code;
    least = error(code);
  }
  return {best, addend(best)};
}

// Quantizes the rows of a tile; one per thread.
class TileSolver {
 public:
  TileSolver(Task& task, std::int64_t height)
      : task_(task),
        n_(task.parts.n),
        largest_code_(largest_code(task.parts.format.bits)),
        tile_(height, n_),
        errors_(static_cast<std::size_t>(kBlock * tile_.stride())) {}

  void solve(std::int64_t first_row, std::int64_t rows) {
    tile_.load(task_.w, first_row, rows, task_.hessian.perm);
    for (std::int64_t j = 0; j < n_; ++j) {
      if (task_.hessian.dead[j] != 0) std::fill_n(tile_.column(j), tile_.stride(), 0.0F);
    }
    for (std::int64_t block = 0; block < n_; block += kBlock) {
      const std::int64_t block_end = std::min(block + kBlock, n_);
      for (std::int64_t chunk = block; chunk < block_end; chunk += kChunk) {
        const std::int64_t chunk_end = std::min(chunk + kChunk, block_end);
        for (std::int64_t j = chunk; j < chunk_end; ++j) solve_column(j, chunk_end);
        tile_.store_codes(chunk, chunk_end - chunk, task_.parts);
        propagate(chunk, chunk_end, chunk_end, block_end);
      }
      propagate(block, block_end, block_end, n_);
    }
  }

 private:
  float* errors(std::int64_t j) { return errors_.data() + j % kBlock * tile_.stride(); }
  const float* factor_row(std::int64_t j) const { return task_.hessian.inverse_factor.data() + j * n_; }

  void fit_group(std::int64_t j, std::int64_t group_columns) {
    const GroupView group = tile_.group(j, std::min(group_columns, n_ - j));
    if (task_.options.simplified_outliers || std::isinf(task_.threshold)) {
      weight_range(group, tile_.low(), tile_.high());
    } else {
      weight_range_without_outliers(group, std::span(task_.inverse_variance).subspan(j),
                                    task_.parts.format.bits, task_.threshold, tile_.low(), tile_.high());
    }
    tile_.fit(j / group_columns, task_.options.round_zero, task_.parts);
    if (task_.parts.format.quantized_statistics()) mend_second_level(group, j);
  }

  // A row whose range is narrow and far from 0 has a zero point of hundreds, one of which nothing or a single
  // value is kept has a range of 2: either coarsens the statistics of all rows that share a second level with
  // it. The reference implementation lets them. Here other ranges are taken for these rows where they halve
  // what the rows lose.
  void mend_second_level(const GroupView& group, std::int64_t j) {
    const auto rows = static_cast<std::size_t>(tile_.rows());
    const std::int64_t index = j / task_.parts.format.group_columns(n_);
    bool any_wild = false;
    for (std::size_t i = 0; i < rows; ++i) any_wild |= is_wild_range(tile_.low()[i], tile_.high()[i]);
    if (!any_wild) return;
    std::vector<float> low(tile_.low().begin(), tile_.low().end());
    std::vector<float> high(tile_.high().begin(), tile_.high().end());
    tame_ranges(group, std::span(low).first(rows), std::span(high).first(rows));
    const std::vector<double> as_found = losses(group, j);
    std::ranges::swap_ranges(low, tile_.low());
    std::ranges::swap_ranges(high, tile_.high());
    tile_.fit(index, task_.options.round_zero, task_.parts);
    const std::vector<double> tamed = losses(group, j);
    for (std::size_t i = 0; i < rows; ++i) {
      const std::size_t second_level = i / static_cast<std::size_t>(task_.parts.format.beta2);
      if (2 * tamed[second_level] <= as_found[second_level]) continue;
      tile_.low()[i] = low[i];
      tile_.high()[i] = high[i];
    }
    tile_.fit(index, task_.options.round_zero, task_.parts);
  }

  // Of the rows of each second-level group: squared errors weighted with the Hessian, at most T, which is
  // what an outlier costs.
  std::vector<double> losses(const GroupView& group, std::int64_t j) const {
    const std::int64_t beta2 = task_.parts.format.beta2;
    std::vector<double> result(static_cast<std::size_t>((tile_.rows() + beta2 - 1) / beta2));
    for (std::int64_t k = 0; k < group.columns; ++k) {
      const float* w = group.data + k * group.stride;
      for (std::int64_t i = 0; i < tile_.rows(); ++i) {
        const float scale = tile_.scale()[i];
        const float zero = tile_.zero()[i];
        const float error = w[i] - scale * (weight_code(w[i], scale, zero, largest_code_) - zero);
        result[static_cast<std::size_t>(i / beta2)] +=
            std::min(error * error * task_.inverse_variance[j + k], task_.threshold);
      }
    }
    return result;
  }

  void solve_column(std::int64_t j, std::int64_t chunk_end) {
    const std::int64_t group_columns = task_.parts.format.group_columns(n_);
    if (j % group_columns == 0) fit_group(j, group_columns);
    quantize_column(j);
    if (!std::isinf(task_.threshold)) take_outliers(j);
    const float* e = errors(j);
    for (std::int64_t k = j + 1; k < chunk_end; ++k) {
      const float factor = factor_row(j)[k];
      float* w = tile_.column(k);
      for (std::int64_t i = 0; i < tile_.stride(); ++i) w[i] -= e[i] * factor;
    }
  }

  // Codes of column j, and errors in units of d.
  void quantize_column(std::int64_t j) {
    const float* w = tile_.column(j);
    const float* scale = tile_.scale().data();
    const float* zero = tile_.zero().data();
    const float d = factor_row(j)[j];
    const float largest = largest_code_;
    std::uint8_t* codes = tile_.codes(j);
    float* e = errors(j);
    for (std::int64_t i = 0; i < tile_.stride(); ++i) {
      const float code = weight_code(w[i], scale[i], zero[i], largest);
      codes[i] = static_cast<std::uint8_t>(static_cast<int>(code));
      e[i] = (w[i] - scale[i] * (code - zero[i])) / d;
    }
  }

  // Weights whose error is above the threshold get a value beside their code. They count as exact, as in the
  // reference implementation.
  void take_outliers(std::int64_t j) {
    float* e = errors(j);
    for (std::int64_t i = 0; i < tile_.rows(); ++i) {
      if (!(e[i] * e[i] > task_.threshold)) continue;
      const float zero_code = weight_code(0.0F, tile_.scale()[i], tile_.zero()[i], largest_code_);
      const SplitWeight split = split_outlier(tile_.column(j)[i], tile_.stored_scale()[i],
                                              tile_.stored_zero()[i], zero_code, largest_code_);
      tile_.codes(j)[i] = static_cast<std::uint8_t>(split.code);
      e[i] = 0.0F;
      if (split.addend == 0.0F) continue;
      task_.outliers[tile_.first_row() + i].push_back({static_cast<std::uint16_t>(j), split.addend});
    }
  }

  // Columns [target, end) -= U[first:last, target:end]^T errors of columns [first, last).
  void propagate(std::int64_t first, std::int64_t last, std::int64_t target, std::int64_t end) {
    if (target == end) return;
    const int stride = static_cast<int>(tile_.stride());
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, static_cast<int>(end - target), stride,
                static_cast<int>(last - first), -1.0F, factor_row(first) + target, static_cast<int>(n_),
                errors(first), stride, 1.0F, tile_.column(target), stride);
  }

  Task& task_;
  std::int64_t n_;
  float largest_code_;
  RowTile tile_;
  std::vector<float> errors_;  // (kBlock, stride)
};

// The rows' outliers as CSR.
void store_outliers(Task& task) {
  std::size_t total = 0;
  for (const auto& row : task.outliers) total += row.size();
  if (total == 0) return;
  if (total > std::numeric_limits<std::uint32_t>::max()) {
    throw std::runtime_error("more than 2^32 - 1 outliers in one matrix: raise the outlier threshold");
  }
  SpqrParts& parts = task.parts;
  parts.columns.reserve(total);
  parts.values.reserve(total);
  parts.row_offsets.reserve(task.outliers.size() + 1);
  parts.row_offsets.push_back(0);
  for (const auto& row : task.outliers) {
    for (const Outlier& outlier : row) {
      parts.columns.push_back(outlier.column);
      parts.values.push_back(outlier.value);
    }
    parts.row_offsets.push_back(static_cast<std::uint32_t>(parts.columns.size()));
  }
}

void check_options(std::int64_t n, const Hessian& hessian, const QuantizeOptions& options) {
  validate(options.format);
  if (hessian.n != n || hessian.inverse_factor.size() != static_cast<std::size_t>(n * n)) {
    throw std::invalid_argument("the weight matrix has " + std::to_string(n) + " columns, its Hessian " +
                                std::to_string(hessian.n));
  }
  if (!(options.outlier_threshold >= 0.0)) {
    throw std::invalid_argument("the outlier threshold must be at least 0 (infinity: no outliers)");
  }
  if (n > std::numeric_limits<std::uint16_t>::max() + 1 && !std::isinf(options.outlier_threshold)) {
    throw std::invalid_argument("outliers have 16-bit columns: a matrix of " + std::to_string(n) +
                                " columns can only be quantized without (threshold infinity)");
  }
}

}  // namespace

SpqrParts quantize_spqr(std::span<const float> w, std::int64_t m, std::int64_t n, const Hessian& hessian,
                        const QuantizeOptions& options) {
  check_shape(w, m, n, "the weight matrix");
  check_finite(w, n, "the weight matrix");
  check_options(n, hessian, options);
  Task task{
      .w = w, .hessian = hessian, .options = options, .inverse_variance = {}, .parts = {}, .outliers = {}};
  task.parts = empty_parts(options.format, m, n);
  task.parts.perm = hessian.perm;
  task.outliers.resize(static_cast<std::size_t>(m));
  for (std::int64_t j = 0; j < n; ++j) {
    const float d = hessian.inverse_factor[j * n + j];
    task.inverse_variance.push_back(1.0F / (d * d));
  }
  task.threshold = squared_error_threshold(task);
  const SingleThreadedBlas single_threaded;
  const std::int64_t height = RowTile::height(options.format, m);
  parallel((m + height - 1) / height, [&](Indices& mine) {
    TileSolver solver(task, height);
    while (mine.next()) {
      const std::int64_t first_row = mine.index() * height;
      solver.solve(first_row, std::min(height, m - first_row));
    }
  });
  store_outliers(task);
  return std::move(task.parts);
}

}  // namespace spqr
