#include "models/spqr_checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <stdexcept>

#include "kernels/half.h"
#include "kernels/quantize/second_level.h"

namespace spqr {
namespace {

struct Bounds {
  float smallest;
  float largest;
};
// Scales of scales have a factor of their own in the file, scales of zero points have not.
constexpr Bounds kScaleBounds{std::numeric_limits<float>::min(), std::numeric_limits<float>::max()};
constexpr Bounds kZeroBounds{0x1p-14F, 65504.0F};

// A second level that f16 cannot say is said by the one near it that moves the weights least: where its zero
// is large, rounding both numbers alone would move what they decode to by many times their own rounding.
// importance: (groups, m), how much weights feel a change of a row's value.
void settle(std::vector<float>& scales, std::vector<float>& zeros, const std::vector<std::uint8_t>& codes,
            const std::vector<float>& importance, const SpqrParts& parts, const Bounds& bounds) {
  const SpqrFormat& format = parts.format;
  const std::int64_t tiles = format.tiles(parts.m);
  for (std::size_t i = 0; i < scales.size(); ++i) {
    const bool exact = round_to_11_bits(scales[i]) == scales[i] && round_to_f16(zeros[i]) == zeros[i];
    if (exact || !(scales[i] > 0)) continue;
    const std::int64_t group = static_cast<std::int64_t>(i) / tiles;
    const std::int64_t row = static_cast<std::int64_t>(i) % tiles * format.beta2;
    const auto first = static_cast<std::size_t>(group * parts.m + row);
    const auto count = static_cast<std::size_t>(std::min<std::int64_t>(format.beta2, parts.m - row));
    const SecondLevel level =
        round_second_level({scales[i], zeros[i]}, std::span(codes).subspan(first, count),
                           std::span(importance).subspan(first, count), bounds.smallest, bounds.largest);
    scales[i] = level.scale;
    zeros[i] = level.zero;
  }
}

// Weights at either end of a row's range feel its scale by their distance from the zero point, and the zero
// point by the scale.
void settle_statistics(SpqrParts& parts) {
  if (!parts.format.quantized_statistics()) return;
  const std::int64_t tiles = parts.format.tiles(parts.m);
  const auto largest = static_cast<float>((1 << parts.format.bits) - 1);
  std::vector<float> of_scale(parts.scale_codes.size());
  std::vector<float> of_zero(parts.scale_codes.size());
  for (std::size_t i = 0; i < of_scale.size(); ++i) {
    const auto row = static_cast<std::int64_t>(i) % parts.m;
    const auto tile =
        static_cast<std::size_t>(static_cast<std::int64_t>(i) / parts.m * tiles + row / parts.format.beta2);
    const float s =
        parts.scale_scale[tile] * (static_cast<float>(parts.scale_codes[i]) - parts.scale_zero[tile]);
    const float z =
        parts.zero_scale[tile] * (static_cast<float>(parts.zero_codes[i]) - parts.zero_zero[tile]);
    const float distance = std::max(std::abs(z), std::abs(largest - z));
    of_scale[i] = distance * distance;
    of_zero[i] = s * s;
  }
  settle(parts.scale_scale, parts.scale_zero, parts.scale_codes, of_scale, parts, kScaleBounds);
  settle(parts.zero_scale, parts.zero_zero, parts.zero_codes, of_zero, parts, kZeroBounds);
}

}  // namespace

std::unique_ptr<SpqrCheckpoint> open_spqr_checkpoint(const std::filesystem::path& path,
                                                     const SpqrCheckpointOptions& options) {
  return is_reference_directory(path) ? open_reference_directory(path, options)
                                      : open_packed_directory(path, options);
}

PackedMatrix pack(const SavedMatrix& matrix) {
  SpqrParts dense = matrix.parts;
  dense.row_offsets.clear();
  dense.columns.clear();
  dense.values.clear();
  settle_statistics(dense);
  PackedMatrix packed = pack(dense);
  const SpqrParts& saved = matrix.parts;
  if (saved.columns.empty()) return packed;
  std::vector<float> row_values(static_cast<std::size_t>(saved.n));
  packed.col_vals.reserve(saved.columns.size());
  for (std::int64_t row = 0; row < saved.m; ++row) {
    if (matrix.rule == OutlierRule::replace)
      dequantize_row({packed.format, packed.m, packed.n, packed.factor, packed.dense, {}, {}}, row,
                     row_values.data());
    for (std::uint32_t i = saved.row_offsets[row]; i < saved.row_offsets[row + 1]; ++i) {
      const float dense_value = matrix.rule == OutlierRule::replace ? row_values[saved.columns[i]] : 0.0F;
      const std::uint16_t addend = f32_to_f16(saved.values[i] - dense_value);
      packed.col_vals.push_back(static_cast<std::uint32_t>(addend) << 16 | saved.columns[i]);
    }
  }
  packed.row_offsets = saved.row_offsets;
  validate(packed.view());
  return packed;
}

std::vector<float> dequantize(const SavedMatrix& matrix) {
  SpqrParts dense = matrix.parts;
  if (matrix.rule == OutlierRule::add) return dequantize(dense);
  dense.row_offsets.clear();
  dense.columns.clear();
  dense.values.clear();
  std::vector<float> w = dequantize(dense);
  const SpqrParts& saved = matrix.parts;
  for (std::int64_t row = 0; row < saved.m && !saved.columns.empty(); ++row) {
    for (std::uint32_t i = saved.row_offsets[row]; i < saved.row_offsets[row + 1]; ++i) {
      const std::int64_t column = saved.perm.empty() ? saved.columns[i] : saved.perm[saved.columns[i]];
      w[static_cast<std::size_t>(row * saved.n + column)] = saved.values[i];
    }
  }
  return w;
}

}  // namespace spqr
