// Where everything of a packed matrix lies in SpqrMatrix::dense. The bit picture in words is in
// models/FORMAT.md.
//   Strips of 64 rows (the last one may have fewer), each cut into chunks of columns. A chunk is
//     [statistics of its groups][units: the weight codes of 8 columns each]
//   A unit is h w codes as bit planes (kernels/bit_planes.h), h rows of the strip, w = 8 columns (the last
//   one may have fewer), in the order: column quad, row, column within the quad. The statistics of a group
//   are [ss sz zs zz, f16, per beta2 rows][scale codes][zero codes] (bit planes, h codes), or [s, f16, per
//   row][z, f16, per row] if unquantized. A strip of 64 rows is padded with zeros to 64 bytes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/bit_planes.h"
#include "kernels/spqr_format.h"

namespace spqr {

class SpqrLayout {
 public:
  static constexpr std::int64_t kStripRows = 64;
  static constexpr std::int64_t kUnitColumns = 8;
  static constexpr std::int64_t kQuadColumns = 4;
  static constexpr std::int64_t kAlignment = 64;

  // Throws std::invalid_argument for a format or extents that cannot be, std::overflow_error if bytes() does
  // not fit in 63 bits.
  SpqrLayout(const SpqrFormat& format, std::int64_t m, std::int64_t n);

  std::size_t bytes() const { return static_cast<std::size_t>(bytes_); }

  std::int64_t strips() const { return (m_ + kStripRows - 1) / kStripRows; }
  std::int64_t strip_height(std::int64_t strip) const {
    return std::min(kStripRows, m_ - strip * kStripRows);
  }
  std::int64_t strip_offset(std::int64_t strip) const { return strip * strip_bytes_; }

  std::int64_t chunks() const { return (n_ + chunk_columns_ - 1) / chunk_columns_; }
  std::int64_t chunk_columns() const { return chunk_columns_; }  // of all chunks but the last
  std::int64_t groups_per_chunk() const { return chunk_columns_ / group_columns_; }
  std::int64_t group_columns() const { return group_columns_; }
  std::int64_t groups() const { return (n_ + group_columns_ - 1) / group_columns_; }
  std::int64_t units() const { return (n_ + kUnitColumns - 1) / kUnitColumns; }
  std::int64_t unit_width(std::int64_t unit) const {
    return std::min(kUnitColumns, n_ - unit * kUnitColumns);
  }

  // Offsets from the start of a strip of `height` rows.
  std::int64_t group_offset(std::int64_t height, std::int64_t group) const;
  std::int64_t unit_offset(std::int64_t height, std::int64_t unit) const;

  // Bytes of one group's statistics, and the offsets in them.
  std::int64_t group_bytes(std::int64_t height) const;
  std::int64_t tiles(std::int64_t height) const { return format_.tiles(height); }
  std::int64_t scale_codes_offset(std::int64_t height) const { return 8 * tiles(height); }
  std::int64_t zero_codes_offset(std::int64_t height) const {
    return scale_codes_offset(height) + plane_bytes(height, format_.scale_bits);
  }
  static std::int64_t unquantized_zeros_offset(std::int64_t height) { return 2 * height; }

  // Place of a row among the statistic codes of a group: in a full strip, rows r, r + 8, r + 16 and r + 24
  // are the bytes of one 32-bit word once unpacked.
  static std::int64_t statistic_index(std::int64_t height, std::int64_t row) {
    return height < kStripRows ? row : row / 32 * 32 + row % 8 * 4 + row % 32 / 8;
  }

  // Place of (row, column) of a unit among its codes.
  static std::int64_t code_index(std::int64_t height, std::int64_t width, std::int64_t row,
                                 std::int64_t column) {
    const std::int64_t quad = column / kQuadColumns;
    const std::int64_t quad_width = std::min(kQuadColumns, width - quad * kQuadColumns);
    return quad * kQuadColumns * height + row * quad_width + column % kQuadColumns;
  }

 private:
  std::int64_t chunk_offset(std::int64_t height, std::int64_t chunk) const;
  std::int64_t chunk_groups(std::int64_t chunk) const;
  std::int64_t strip_bytes(std::int64_t height) const;

  SpqrFormat format_;
  std::int64_t m_;
  std::int64_t n_;
  std::int64_t group_columns_ = 0;
  std::int64_t chunk_columns_ = 0;
  std::int64_t strip_bytes_ = 0;  // of a strip of 64 rows
  std::int64_t bytes_ = 0;
};

}  // namespace spqr
