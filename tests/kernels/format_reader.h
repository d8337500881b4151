// A reader of packed matrices written from models/FORMAT.md alone, one bit at a time. It shares no code with
// kernels/ on purpose.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/spqr_matrix.h"

namespace spqr {

struct FormatReader {
  explicit FormatReader(const SpqrMatrix& matrix) : matrix_(matrix) {}

  // As in SpqrParts, which has the same arrays.
  int code(std::int64_t row, std::int64_t column) const;
  int scale_code(std::int64_t row, std::int64_t group) const;
  int zero_code(std::int64_t row, std::int64_t group) const;
  double second_level(std::int64_t row, std::int64_t group,
                      int which) const;  // 0 ss (with factor), 1 sz, 2 zs, 3 zz
  double unquantized_scale(std::int64_t row, std::int64_t group) const;  // with factor
  double unquantized_zero(std::int64_t row, std::int64_t group) const;
  // W[row][column], and |s| (q + |z|) + |outlier|, the size of what it is computed from.
  struct Weight {
    double value;
    double size;
  };
  Weight weight(std::int64_t row, std::int64_t column) const;
  std::int64_t bytes() const;  // of `dense`

 private:
  std::int64_t height(std::int64_t strip) const;
  std::int64_t group_columns() const;
  std::int64_t group_bytes(std::int64_t h) const;
  std::int64_t strip_bytes(std::int64_t h) const;
  // Where chunk `chunk`'s statistics or codes begin in a strip of h rows.
  std::int64_t chunk_statistics(std::int64_t h, std::int64_t chunk) const;
  std::int64_t chunk_codes(std::int64_t h, std::int64_t chunk) const;
  std::int64_t group_at(std::int64_t row, std::int64_t group) const;
  int statistic_code(std::int64_t row, std::int64_t at, int bits) const;
  double f16_at(std::int64_t at) const;
  int bit(std::int64_t at, std::int64_t index) const;
  // Code `index` of `count` codes of `bits` bits whose planes begin at byte `at`.
  int planes(std::int64_t at, std::int64_t count, int bits, std::int64_t index) const;

  SpqrMatrix matrix_;
};

}  // namespace spqr
