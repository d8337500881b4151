// A tile of rows of a matrix, transposed: rows are the fast index, so that they are vector lanes.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/quantize/outliers.h"
#include "kernels/spqr_format.h"

namespace spqr {

class RowTile {
 public:
  // Codes are kept for this many columns before they are written to the parts.
  static constexpr std::int64_t kCodeColumns = 16;

  // Tile heights of m rows: whole second-level groups, vectors and enough work for a matrix product; a
  // function of the shape only, so that results do not depend on the number of threads.
  static std::int64_t height(const SpqrFormat& format, std::int64_t m);

  RowTile(std::int64_t height, std::int64_t n);

  // Rows [first_row, first_row + rows) of w (.., n), columns in the order of perm (empty: as they are); zeros
  // beyond.
  void load(std::span<const float> w, std::int64_t first_row, std::int64_t rows,
            std::span<const std::uint32_t> perm);

  std::int64_t first_row() const { return first_row_; }
  std::int64_t rows() const { return rows_; }
  std::int64_t stride() const { return stride_; }
  float* column(std::int64_t j) { return weights_.data() + j * stride_; }
  std::span<const float> scale() const { return scale_; }
  std::span<const float> zero() const { return zero_; }
  std::span<const float> stored_scale() const { return stored_scale_; }
  std::span<const float> stored_zero() const { return stored_zero_; }
  GroupView group(std::int64_t first_column, std::int64_t columns) {
    return {column(first_column), columns, stride_};
  }

  // Fits group `index` of the tile to weights in [low, high] and stores it in the parts.
  void fit(std::int64_t index, bool round_zero, SpqrParts& parts);
  std::span<float> low() { return low_; }
  std::span<float> high() { return high_; }

  // Codes of column j (stride), kept until store_codes() writes those of columns [first, first + count).
  std::uint8_t* codes(std::int64_t j) { return codes_.data() + j % kCodeColumns * stride_; }
  void store_codes(std::int64_t first, std::int64_t count, SpqrParts& parts) const;

 private:
  std::int64_t n_;
  std::int64_t stride_;
  std::int64_t first_row_ = 0;
  std::int64_t rows_ = 0;
  std::vector<float> weights_;                                                 // (n, stride)
  std::vector<float> low_, high_, scale_, zero_, stored_scale_, stored_zero_;  // (stride)
  std::vector<std::uint8_t> codes_;                                            // (kCodeColumns, stride)
};

}  // namespace spqr
