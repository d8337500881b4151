#include "kernels/quantize/row_tile.h"

#include <algorithm>

#include "kernels/quantize/group_statistics.h"

namespace spqr {

std::int64_t RowTile::height(const SpqrFormat& format, std::int64_t m) {
  const std::int64_t wanted = m >= 8192 ? 128 : m >= 1024 ? 64 : 32;
  return std::max<std::int64_t>(wanted, format.quantized_statistics() ? format.beta2 : 0);
}

RowTile::RowTile(std::int64_t height, std::int64_t n)
    : n_(n),
      stride_((height + GroupView::kLanes - 1) / GroupView::kLanes * GroupView::kLanes),
      weights_(static_cast<std::size_t>(n * stride_)),
      low_(static_cast<std::size_t>(stride_)),
      high_(low_.size()),
      scale_(low_.size(), 1.0F),
      zero_(low_.size()),
      stored_scale_(low_.size(), 1.0F),
      stored_zero_(low_.size()),
      codes_(static_cast<std::size_t>(kCodeColumns * stride_)) {}

void RowTile::load(std::span<const float> w, std::int64_t first_row, std::int64_t rows,
                   std::span<const std::uint32_t> perm) {
  first_row_ = first_row;
  rows_ = rows;
  constexpr std::int64_t kColumns = 64;
  for (std::int64_t begin = 0; begin < n_; begin += kColumns) {
    const std::int64_t end = std::min(begin + kColumns, n_);
    for (std::int64_t i = 0; i < rows; ++i) {
      const float* row = w.data() + (first_row + i) * n_;
      for (std::int64_t j = begin; j < end; ++j) column(j)[i] = row[perm.empty() ? j : perm[j]];
    }
    for (std::int64_t j = begin; j < end; ++j) std::fill(column(j) + rows, column(j) + stride_, 0.0F);
  }
}

void RowTile::fit(std::int64_t index, bool round_zero, SpqrParts& parts) {
  const auto rows = static_cast<std::size_t>(rows_);
  const Statistics all{scale_, zero_, stored_scale_, stored_zero_};
  fit_statistics(std::span(low_).first(rows), std::span(high_).first(rows), round_zero, index, first_row_,
                 parts, all.rows(0, rows_));
}

void RowTile::store_codes(std::int64_t first, std::int64_t count, SpqrParts& parts) const {
  for (std::int64_t i = 0; i < rows_; ++i) {
    std::uint8_t* row = parts.codes.data() + (first_row_ + i) * n_;
    for (std::int64_t j = first; j < first + count; ++j) row[j] = codes_[j % kCodeColumns * stride_ + i];
  }
}

}  // namespace spqr
