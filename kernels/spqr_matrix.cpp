#include "kernels/spqr_matrix.h"

#include <cmath>
#include <stdexcept>
#include <string>

#include "kernels/half.h"
#include "kernels/spqr_layout.h"

namespace spqr {
namespace {

void require(bool good, const std::string& what) {
  if (!good) throw std::invalid_argument("packed matrix: " + what);
}

std::string expected(const std::string& what, std::size_t should, std::size_t is) {
  return what + " should have " + std::to_string(should) + " entries, not " + std::to_string(is);
}

bool power_of_two(float factor) {
  int exponent = 0;
  return std::isnormal(factor) && std::frexp(factor, &exponent) == 0.5F;
}

void validate_row(const SpqrMatrix& matrix, std::int64_t row) {
  std::int64_t previous = -1;
  for (std::uint32_t i = matrix.row_offsets[row]; i < matrix.row_offsets[row + 1]; ++i) {
    const std::int64_t column = matrix.col_vals[i] & 0xFFFFU;
    const std::uint32_t exponent = matrix.col_vals[i] >> 26 & 0x1FU;
    if (column > previous && column < matrix.n && exponent != 0x1F) {
      previous = column;
      continue;
    }
    const std::string name = "outlier " + std::to_string(i) + " of row " + std::to_string(row);
    require(column < matrix.n,
            name + " is in column " + std::to_string(column) + " of " + std::to_string(matrix.n));
    require(column > previous, name + " is in column " + std::to_string(column) + ", after one in column " +
                                   std::to_string(previous));
    require(false, name + " is not finite");
  }
}

void validate_outliers(const SpqrMatrix& matrix) {
  const auto offsets = matrix.row_offsets;
  if (offsets.empty()) {
    require(matrix.col_vals.empty(), "there are outliers but no row offsets");
    return;
  }
  require(matrix.n <= 65536,
          "rows of " + std::to_string(matrix.n) + " weights have outliers; columns have 16 bits");
  const auto rows = static_cast<std::size_t>(matrix.m);
  require(offsets.size() == rows + 1, expected("row_offsets", rows + 1, offsets.size()));
  require(offsets[0] == 0, "row_offsets[0] is " + std::to_string(offsets[0]) + ", not 0");
  require(offsets[rows] == matrix.col_vals.size(), "the last row offset is " + std::to_string(offsets[rows]) +
                                                       ", but there are " +
                                                       std::to_string(matrix.col_vals.size()) + " outliers");
  // All offsets before any outlier is read: an offset in the middle may lie past the end.
  for (std::size_t row = 0; row < rows; ++row) {
    if (offsets[row] <= offsets[row + 1]) continue;
    require(false, "row_offsets[" + std::to_string(row + 1) + "] is " + std::to_string(offsets[row + 1]) +
                       ", less than the one before, " + std::to_string(offsets[row]));
  }
  for (std::int64_t row = 0; row < matrix.m; ++row) validate_row(matrix, row);
}

float read_f16(const std::byte* at) {
  std::uint16_t bits;
  std::memcpy(&bits, at, sizeof bits);
  return f16_to_f32(bits);
}

struct ScaleAndZero {
  float scale;
  float zero;
};

// Statistics of row `row` of a strip. group: where they begin.
ScaleAndZero read_statistics(const SpqrMatrix& matrix, const SpqrLayout& layout, const std::byte* group,
                             std::int64_t height, std::int64_t row) {
  const SpqrFormat& format = matrix.format;
  if (!format.quantized_statistics()) {
    return {matrix.factor * read_f16(group + 2 * row),
            read_f16(group + SpqrLayout::unquantized_zeros_offset(height) + 2 * row)};
  }
  const std::byte* second = group + row / format.beta2 * 8;  // ss sz zs zz
  const std::int64_t at = SpqrLayout::statistic_index(height, row);
  const auto qs = read_code(group + layout.scale_codes_offset(height), height, format.scale_bits, at);
  const auto qz = read_code(group + layout.zero_codes_offset(height), height, format.zero_bits, at);
  return {matrix.factor * read_f16(second) * (static_cast<float>(qs) - read_f16(second + 2)),
          read_f16(second + 4) * (static_cast<float>(qz) - read_f16(second + 6))};
}

}  // namespace

std::size_t packed_bytes(const SpqrFormat& format, std::int64_t m, std::int64_t n) {
  return SpqrLayout(format, m, n).bytes();
}

void validate(const SpqrMatrix& matrix) {
  const SpqrLayout layout(matrix.format, matrix.m, matrix.n);
  require(matrix.dense.size() == layout.bytes(),
          std::to_string(matrix.m) + " x " + std::to_string(matrix.n) + " weights of this format take " +
              std::to_string(layout.bytes()) + " bytes, not " + std::to_string(matrix.dense.size()));
  require(power_of_two(matrix.factor),
          "the factor " + std::to_string(matrix.factor) + " is not a power of two");
  validate_outliers(matrix);
}

void dequantize_row(const SpqrMatrix& matrix, std::int64_t row, float* out) {
  const SpqrLayout layout(matrix.format, matrix.m, matrix.n);
  const std::int64_t index = row / SpqrLayout::kStripRows;
  const std::int64_t height = layout.strip_height(index);
  const std::int64_t strip_row = row - index * SpqrLayout::kStripRows;
  const std::byte* strip = matrix.dense.data() + layout.strip_offset(index);

  for (std::int64_t group = 0; group < layout.groups(); ++group) {
    const auto [scale, zero] =
        read_statistics(matrix, layout, strip + layout.group_offset(height, group), height, strip_row);
    const std::int64_t end = std::min(matrix.n, (group + 1) * layout.group_columns());
    for (std::int64_t first = group * layout.group_columns(); first < end;
         first += SpqrLayout::kUnitColumns) {
      const std::int64_t unit = first / SpqrLayout::kUnitColumns;
      const std::int64_t width = layout.unit_width(unit);
      const std::byte* codes = strip + layout.unit_offset(height, unit);
      for (std::int64_t j = 0; j < width; ++j) {
        const auto code = read_code(codes, height * width, matrix.format.bits,
                                    SpqrLayout::code_index(height, width, strip_row, j));
        out[first + j] = scale * (static_cast<float>(code) - zero);
      }
    }
  }
  if (matrix.row_offsets.empty()) return;
  for (std::uint32_t i = matrix.row_offsets[row]; i < matrix.row_offsets[row + 1]; ++i) {
    out[matrix.col_vals[i] & 0xFFFFU] += f16_to_f32(static_cast<std::uint16_t>(matrix.col_vals[i] >> 16));
  }
}

}  // namespace spqr
