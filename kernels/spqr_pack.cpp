// Parts to a packed matrix and back.
#include <cmath>
#include <stdexcept>
#include <string>

#include "kernels/half.h"
#include "kernels/spqr_layout.h"
#include "kernels/spqr_matrix.h"
#include "kernels/threads.h"

namespace spqr {
namespace {

constexpr std::int64_t kUnitCodes = SpqrLayout::kStripRows * SpqrLayout::kUnitColumns;

void require(bool good, const std::string& what) {
  if (!good) throw std::invalid_argument("cannot pack: " + what);
}

template <typename T>
void require_size(const std::vector<T>& values, std::int64_t size, const std::string& name) {
  require(std::ssize(values) == size,
          name + " has " + std::to_string(values.size()) + " entries, not " + std::to_string(size));
}

void require_codes(const std::vector<std::uint8_t>& codes, std::int64_t size, int bits,
                   const std::string& name) {
  require_size(codes, size, name);
  std::uint8_t all = 0;
  for (std::uint8_t code : codes) all |= code;
  require(all >> bits == 0, "a code of " + name + " has more than " + std::to_string(bits) + " bits");
}

// What f16 can hold, after division by factor.
void require_f16(const std::vector<float>& values, float factor, const std::string& name) {
  for (float value : values) {
    if (!std::isfinite(round_to_f16(value / factor) * factor)) {
      require(false, name + " holds " + std::to_string(value) + ", which f16 cannot");
    }
  }
}

void check_outliers(const SpqrParts& parts) {
  if (parts.row_offsets.empty()) {
    require(parts.columns.empty() && parts.values.empty(), "there are outliers but no row offsets");
    return;
  }
  require_size(parts.row_offsets, parts.m + 1, "row_offsets");
  require_size(parts.columns, parts.row_offsets.back(), "columns");
  require_size(parts.values, parts.row_offsets.back(), "values");
  require(parts.n <= 65536,
          "rows of " + std::to_string(parts.n) + " weights with outliers; columns have 16 bits");
  require_f16(parts.values, 1, "values");
}

void check(const SpqrParts& parts, float factor) {
  const SpqrFormat& format = parts.format;
  const std::int64_t groups = format.groups(parts.n);
  require_codes(parts.codes, parts.m * parts.n, format.bits, "codes");
  if (format.quantized_statistics()) {
    const std::int64_t second = groups * format.tiles(parts.m);
    require_codes(parts.scale_codes, groups * parts.m, format.scale_bits, "scale_codes");
    require_codes(parts.zero_codes, groups * parts.m, format.zero_bits, "zero_codes");
    require_size(parts.scale_scale, second, "scale_scale");
    require_size(parts.scale_zero, second, "scale_zero");
    require_size(parts.zero_scale, second, "zero_scale");
    require_size(parts.zero_zero, second, "zero_zero");
    require_f16(parts.scale_scale, factor, "scale_scale");
    require_f16(parts.scale_zero, 1, "scale_zero");
    require_f16(parts.zero_scale, 1, "zero_scale");
    require_f16(parts.zero_zero, 1, "zero_zero");
  } else {
    require_size(parts.scales, groups * parts.m, "scales");
    require_size(parts.zeros, groups * parts.m, "zeros");
    require_f16(parts.scales, factor, "scales");
    require_f16(parts.zeros, 1, "zeros");
  }
  check_outliers(parts);
}

// 1 where f16 holds all scales as normal numbers; else the power of two that brings the largest into [2^14,
// 2^15).
float scale_factor(const std::vector<float>& scales) {
  constexpr float kSmallestNormal = 0x1p-14F;
  constexpr float kLargest = 65504;
  float largest = 0;
  bool fits = true;
  for (float scale : scales) {
    const float size = std::abs(scale);
    if (size == 0 || !std::isfinite(size)) continue;
    largest = std::max(largest, size);
    fits = fits && size >= kSmallestNormal && size <= kLargest;
  }
  if (fits) return 1;
  return std::ldexp(1.0F, std::max(std::ilogb(largest) - 14, -126));
}

void write_f16(std::byte* at, float value) {
  const std::uint16_t bits = f32_to_f16(value);
  std::memcpy(at, &bits, sizeof bits);
}

float read_f16(const std::byte* at) {
  std::uint16_t bits;
  std::memcpy(&bits, at, sizeof bits);
  return f16_to_f32(bits);
}

// One strip of a matrix: Parts is SpqrParts (unpacking into it) or const SpqrParts, Byte std::byte or const
// std::byte.
template <typename Parts, typename Byte>
struct Strip {
  const SpqrLayout& layout;
  Parts& parts;
  float factor;
  std::int64_t first_row;
  std::int64_t height;
  Byte* bytes;
};

using PackingStrip = Strip<const SpqrParts, std::byte>;
using UnpackingStrip = Strip<SpqrParts, const std::byte>;

// Statistic codes of one group and the strip's rows, to and from their order.
void pack_rows(const std::uint8_t* codes, std::int64_t height, int bits, std::byte* out) {
  std::uint8_t ordered[SpqrLayout::kStripRows];
  for (std::int64_t row = 0; row < height; ++row)
    ordered[SpqrLayout::statistic_index(height, row)] = codes[row];
  pack_planes(ordered, height, bits, out);
}

void unpack_rows(const std::byte* in, std::int64_t height, int bits, std::uint8_t* codes) {
  std::uint8_t ordered[SpqrLayout::kStripRows];
  unpack_planes(in, height, bits, ordered);
  for (std::int64_t row = 0; row < height; ++row)
    codes[row] = ordered[SpqrLayout::statistic_index(height, row)];
}

void pack_statistics(const PackingStrip& strip, std::int64_t group) {
  const auto& [layout, parts, factor, first_row, height, bytes] = strip;
  const SpqrFormat& format = parts.format;
  const std::int64_t at = group * parts.m + first_row;
  std::byte* out = bytes + layout.group_offset(height, group);
  if (!format.quantized_statistics()) {
    std::byte* zeros = out + SpqrLayout::unquantized_zeros_offset(height);
    for (std::int64_t i = 0; i < height; ++i) {
      write_f16(out + 2 * i, parts.scales[at + i] / factor);
      write_f16(zeros + 2 * i, parts.zeros[at + i]);
    }
    return;
  }
  const std::int64_t first_tile = group * format.tiles(parts.m) + first_row / format.beta2;
  for (std::int64_t i = 0; i < layout.tiles(height); ++i) {
    write_f16(out + 8 * i, parts.scale_scale[first_tile + i] / factor);
    write_f16(out + 8 * i + 2, parts.scale_zero[first_tile + i]);
    write_f16(out + 8 * i + 4, parts.zero_scale[first_tile + i]);
    write_f16(out + 8 * i + 6, parts.zero_zero[first_tile + i]);
  }
  pack_rows(parts.scale_codes.data() + at, height, format.scale_bits,
            out + layout.scale_codes_offset(height));
  pack_rows(parts.zero_codes.data() + at, height, format.zero_bits, out + layout.zero_codes_offset(height));
}

void unpack_statistics(const UnpackingStrip& strip, std::int64_t group) {
  const auto& [layout, parts, factor, first_row, height, bytes] = strip;
  const SpqrFormat& format = parts.format;
  const std::int64_t at = group * parts.m + first_row;
  const std::byte* in = bytes + layout.group_offset(height, group);
  if (!format.quantized_statistics()) {
    const std::byte* zeros = in + SpqrLayout::unquantized_zeros_offset(height);
    for (std::int64_t i = 0; i < height; ++i) {
      parts.scales[at + i] = factor * read_f16(in + 2 * i);
      parts.zeros[at + i] = read_f16(zeros + 2 * i);
    }
    return;
  }
  const std::int64_t first_tile = group * format.tiles(parts.m) + first_row / format.beta2;
  for (std::int64_t i = 0; i < layout.tiles(height); ++i) {
    parts.scale_scale[first_tile + i] = factor * read_f16(in + 8 * i);
    parts.scale_zero[first_tile + i] = read_f16(in + 8 * i + 2);
    parts.zero_scale[first_tile + i] = read_f16(in + 8 * i + 4);
    parts.zero_zero[first_tile + i] = read_f16(in + 8 * i + 6);
  }
  unpack_rows(in + layout.scale_codes_offset(height), height, format.scale_bits,
              parts.scale_codes.data() + at);
  unpack_rows(in + layout.zero_codes_offset(height), height, format.zero_bits, parts.zero_codes.data() + at);
}

// Copies between a unit's codes in their order and rows of parts.codes; `to_unit`: which way.
template <bool to_unit, typename Codes>
void copy_unit(std::int64_t height, std::int64_t width, std::uint8_t* unit, Codes* codes,
               std::int64_t stride) {
  constexpr std::int64_t kQuad = SpqrLayout::kQuadColumns;
  for (std::int64_t column = 0; column < width; column += kQuad) {
    const auto quad = static_cast<std::size_t>(std::min(kQuad, width - column));
    for (std::int64_t row = 0; row < height; ++row) {
      if constexpr (to_unit) {
        std::memcpy(unit, codes + row * stride + column, quad);
      } else {
        std::memcpy(codes + row * stride + column, unit, quad);
      }
      unit += quad;
    }
  }
}

void pack_unit(const PackingStrip& strip, std::int64_t unit) {
  const std::int64_t width = strip.layout.unit_width(unit);
  const std::int64_t n = strip.parts.n;
  const std::uint8_t* codes =
      strip.parts.codes.data() + strip.first_row * n + unit * SpqrLayout::kUnitColumns;
  std::uint8_t ordered[kUnitCodes];
  copy_unit<true>(strip.height, width, ordered, codes, n);
  pack_planes(ordered, strip.height * width, strip.parts.format.bits,
              strip.bytes + strip.layout.unit_offset(strip.height, unit));
}

void unpack_unit(const UnpackingStrip& strip, std::int64_t unit) {
  const std::int64_t width = strip.layout.unit_width(unit);
  const std::int64_t n = strip.parts.n;
  std::uint8_t* codes = strip.parts.codes.data() + strip.first_row * n + unit * SpqrLayout::kUnitColumns;
  std::uint8_t ordered[kUnitCodes];
  unpack_planes(strip.bytes + strip.layout.unit_offset(strip.height, unit), strip.height * width,
                strip.parts.format.bits, ordered);
  copy_unit<false>(strip.height, width, ordered, codes, n);
}

void resize(SpqrParts& parts) {
  const auto rows = static_cast<std::size_t>(parts.m);
  const auto groups = static_cast<std::size_t>(parts.format.groups(parts.n));
  parts.codes.resize(rows * static_cast<std::size_t>(parts.n));
  if (parts.format.quantized_statistics()) {
    const std::size_t second = groups * static_cast<std::size_t>(parts.format.tiles(parts.m));
    parts.scale_codes.resize(groups * rows);
    parts.zero_codes.resize(groups * rows);
    for (auto* values : {&parts.scale_scale, &parts.scale_zero, &parts.zero_scale, &parts.zero_zero}) {
      values->resize(second);
    }
  } else {
    parts.scales.resize(groups * rows);
    parts.zeros.resize(groups * rows);
  }
}

}  // namespace

PackedMatrix pack(const SpqrParts& parts) {
  const SpqrLayout layout(parts.format, parts.m, parts.n);
  const float factor = scale_factor(parts.format.quantized_statistics() ? parts.scale_scale : parts.scales);
  check(parts, factor);

  PackedMatrix packed{parts.format, parts.m, parts.n, factor, std::vector<std::byte>(layout.bytes()), {}, {}};
  parallel_for(layout.strips(), [&](std::int64_t index) {
    const PackingStrip strip{layout,
                             parts,
                             factor,
                             index * SpqrLayout::kStripRows,
                             layout.strip_height(index),
                             packed.dense.data() + layout.strip_offset(index)};
    for (std::int64_t group = 0; group < layout.groups(); ++group) pack_statistics(strip, group);
    for (std::int64_t unit = 0; unit < layout.units(); ++unit) pack_unit(strip, unit);
  });
  if (!parts.columns.empty()) {
    packed.row_offsets = parts.row_offsets;
    packed.col_vals.resize(parts.columns.size());
    for (std::size_t i = 0; i < parts.columns.size(); ++i) {
      packed.col_vals[i] = static_cast<std::uint32_t>(f32_to_f16(parts.values[i])) << 16 | parts.columns[i];
    }
  }
  validate(packed.view());
  return packed;
}

SpqrParts unpack(const SpqrMatrix& matrix) {
  const SpqrLayout layout(matrix.format, matrix.m, matrix.n);
  SpqrParts parts;
  parts.format = matrix.format;
  parts.m = matrix.m;
  parts.n = matrix.n;
  resize(parts);
  parallel_for(layout.strips(), [&](std::int64_t index) {
    const UnpackingStrip strip{layout,
                               parts,
                               matrix.factor,
                               index * SpqrLayout::kStripRows,
                               layout.strip_height(index),
                               matrix.dense.data() + layout.strip_offset(index)};
    for (std::int64_t group = 0; group < layout.groups(); ++group) unpack_statistics(strip, group);
    for (std::int64_t unit = 0; unit < layout.units(); ++unit) unpack_unit(strip, unit);
  });
  parts.row_offsets.assign(matrix.row_offsets.begin(), matrix.row_offsets.end());
  parts.columns.reserve(matrix.col_vals.size());
  parts.values.reserve(matrix.col_vals.size());
  for (std::uint32_t entry : matrix.col_vals) {
    parts.columns.push_back(static_cast<std::uint16_t>(entry & 0xFFFFU));
    parts.values.push_back(f16_to_f32(static_cast<std::uint16_t>(entry >> 16)));
  }
  return parts;
}

}  // namespace spqr
