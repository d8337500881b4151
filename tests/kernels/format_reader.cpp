#include "tests/kernels/format_reader.h"

#include <algorithm>
#include <cmath>

namespace spqr {
namespace {

double f16(unsigned word) {
  const int sign = word >> 15 != 0 ? -1 : 1;
  const int exponent = static_cast<int>(word >> 10 & 31);
  const int fraction = static_cast<int>(word & 1023);
  if (exponent == 0) return sign * std::ldexp(fraction, -24);
  return sign * std::ldexp(1024 + fraction, exponent - 25);
}

std::int64_t ceil_div(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}
std::int64_t to_multiple_of_64(std::int64_t a) {
  return ceil_div(a, 64) * 64;
}

}  // namespace

std::int64_t FormatReader::height(std::int64_t strip) const {
  return strip == (matrix_.m - 1) / 64 ? matrix_.m - 64 * ((matrix_.m - 1) / 64) : 64;
}

std::int64_t FormatReader::group_columns() const {
  return matrix_.format.beta1 == 0 ? matrix_.n : matrix_.format.beta1;
}

std::int64_t FormatReader::group_bytes(std::int64_t h) const {
  const SpqrFormat& f = matrix_.format;
  if (f.scale_bits == 16) return 4 * h;
  return 8 * ceil_div(h, f.beta2) + f.scale_bits * ceil_div(h, 8) + f.zero_bits * ceil_div(h, 8);
}

std::int64_t FormatReader::chunk_statistics(std::int64_t h, std::int64_t chunk) const {
  if (chunk == 0) return 0;
  const std::int64_t columns = std::max<std::int64_t>(256, 8 * matrix_.format.beta1);
  // Chunks before the last are whole: all their units are 8 columns wide.
  return chunk_codes(h, chunk - 1) + columns / 8 * matrix_.format.bits * ceil_div(h * 8, 8);
}

std::int64_t FormatReader::chunk_codes(std::int64_t h, std::int64_t chunk) const {
  const std::int64_t n = matrix_.n;
  const std::int64_t columns =
      matrix_.format.beta1 == 0 ? n : std::max<std::int64_t>(256, 8 * matrix_.format.beta1);
  const std::int64_t in_chunk = std::min(columns, n - chunk * columns);
  const std::int64_t statistics = ceil_div(in_chunk, group_columns()) * group_bytes(h);
  return chunk_statistics(h, chunk) + statistics;
}

std::int64_t FormatReader::strip_bytes(std::int64_t h) const {
  const std::int64_t n = matrix_.n;
  const std::int64_t columns =
      matrix_.format.beta1 == 0 ? n : std::max<std::int64_t>(256, 8 * matrix_.format.beta1);
  const std::int64_t last = (n - 1) / columns;
  std::int64_t bytes = chunk_codes(h, last);
  for (std::int64_t c = last * columns; c < n; c += 8) {
    bytes += matrix_.format.bits * ceil_div(h * std::min<std::int64_t>(8, n - c), 8);
  }
  return h == 64 ? to_multiple_of_64(bytes) : bytes;
}

std::int64_t FormatReader::bytes() const {
  std::int64_t total = 0;
  for (std::int64_t strip = 0; strip * 64 < matrix_.m; ++strip) total += strip_bytes(height(strip));
  return to_multiple_of_64(total);
}

int FormatReader::bit(std::int64_t at, std::int64_t index) const {
  return std::to_integer<int>(matrix_.dense[static_cast<std::size_t>(at)]) >> index & 1;
}

int FormatReader::planes(std::int64_t at, std::int64_t count, int bits, std::int64_t index) const {
  static const std::vector<std::int64_t> widths[] = {{},     {},     {2},       {2, 1}, {4},
                                                     {4, 1}, {4, 2}, {4, 2, 1}, {4, 4}};
  const std::int64_t line = ceil_div(count, 8);
  int code = 0;
  std::int64_t code_bit = 0;
  for (std::int64_t p : widths[bits]) {
    for (std::int64_t k = 0; k < p; ++k, ++code_bit) {
      code |= bit(at + index % (p * line), p * (index / (p * line)) + k) << code_bit;
    }
    at += p * line;
  }
  return code;
}

double FormatReader::f16_at(std::int64_t at) const {
  const auto low = std::to_integer<unsigned>(matrix_.dense[static_cast<std::size_t>(at)]);
  const auto high = std::to_integer<unsigned>(matrix_.dense[static_cast<std::size_t>(at + 1)]);
  return f16(low | high << 8);
}

std::int64_t FormatReader::group_at(std::int64_t row, std::int64_t group) const {
  const std::int64_t strip = row / 64;
  const std::int64_t h = height(strip);
  const std::int64_t per_chunk =
      matrix_.format.beta1 == 0
          ? 1
          : std::max<std::int64_t>(256, 8 * matrix_.format.beta1) / matrix_.format.beta1;
  return strip * strip_bytes(64) + chunk_statistics(h, group / per_chunk) +
         group % per_chunk * group_bytes(h);
}

int FormatReader::code(std::int64_t row, std::int64_t column) const {
  const std::int64_t n = matrix_.n;
  const std::int64_t h = height(row / 64);
  const std::int64_t columns =
      matrix_.format.beta1 == 0 ? n : std::max<std::int64_t>(256, 8 * matrix_.format.beta1);
  const std::int64_t chunk = column / columns;
  const std::int64_t at = row / 64 * strip_bytes(64) + chunk_codes(h, chunk) +
                          (column - chunk * columns) / 8 * matrix_.format.bits * ceil_div(h * 8, 8);
  const std::int64_t w = std::min<std::int64_t>(8, n - column / 8 * 8);
  const std::int64_t c = column % 8;
  const std::int64_t r = row % 64;
  const std::int64_t index = 4 * h * (c / 4) + r * std::min<std::int64_t>(4, w - 4 * (c / 4)) + c % 4;
  return planes(at, h * w, matrix_.format.bits, index);
}

int FormatReader::statistic_code(std::int64_t row, std::int64_t at, int bits) const {
  const std::int64_t h = height(row / 64);
  const std::int64_t r = row % 64;
  return planes(at, h, bits, h == 64 ? 32 * (r / 32) + 4 * (r % 8) + r % 32 / 8 : r);
}

int FormatReader::scale_code(std::int64_t row, std::int64_t group) const {
  const std::int64_t second = 8 * ceil_div(height(row / 64), matrix_.format.beta2);
  return statistic_code(row, group_at(row, group) + second, matrix_.format.scale_bits);
}

int FormatReader::zero_code(std::int64_t row, std::int64_t group) const {
  const std::int64_t h = height(row / 64);
  const std::int64_t before =
      8 * ceil_div(h, matrix_.format.beta2) + matrix_.format.scale_bits * ceil_div(h, 8);
  return statistic_code(row, group_at(row, group) + before, matrix_.format.zero_bits);
}

double FormatReader::second_level(std::int64_t row, std::int64_t group, int which) const {
  const double value = f16_at(group_at(row, group) + 8 * (row % 64 / matrix_.format.beta2) + 2 * which);
  return which == 0 ? matrix_.factor * value : value;
}

double FormatReader::unquantized_scale(std::int64_t row, std::int64_t group) const {
  return matrix_.factor * f16_at(group_at(row, group) + 2 * (row % 64));
}

double FormatReader::unquantized_zero(std::int64_t row, std::int64_t group) const {
  return f16_at(group_at(row, group) + 2 * height(row / 64) + 2 * (row % 64));
}

FormatReader::Weight FormatReader::weight(std::int64_t row, std::int64_t column) const {
  const std::int64_t group = column / group_columns();
  double s;
  double z;
  if (matrix_.format.scale_bits == 16) {
    s = unquantized_scale(row, group);
    z = unquantized_zero(row, group);
  } else {
    s = second_level(row, group, 0) * (scale_code(row, group) - second_level(row, group, 1));
    z = second_level(row, group, 2) * (zero_code(row, group) - second_level(row, group, 3));
  }
  const int q = code(row, column);
  Weight w{s * (q - z), std::abs(s) * (q + std::abs(z))};
  if (matrix_.row_offsets.empty()) return w;
  const auto r = static_cast<std::size_t>(row);
  for (std::size_t i = matrix_.row_offsets[r]; i < matrix_.row_offsets[r + 1]; ++i) {
    if ((matrix_.col_vals[i] & 0xFFFFU) != column) continue;
    w.value += f16(matrix_.col_vals[i] >> 16);
    w.size += std::abs(f16(matrix_.col_vals[i] >> 16));
  }
  return w;
}

}  // namespace spqr
