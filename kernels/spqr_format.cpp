#include "kernels/spqr_format.h"

#include <stdexcept>
#include <string>

#include "kernels/threads.h"

namespace spqr {
namespace {

void require(bool good, const std::string& what) {
  if (!good) throw std::invalid_argument("SpQR format: " + what);
}

bool statistic_bits(int bits) {
  return (bits >= 2 && bits <= 8) || bits == SpqrFormat::kUnquantized;
}

}  // namespace

void validate(const SpqrFormat& format) {
  require(format.bits >= 2 && format.bits <= 8, "bits must be 2..8, not " + std::to_string(format.bits));
  const std::int64_t beta1 = format.beta1;
  require(beta1 == SpqrFormat::kWholeRow || beta1 == 8 || beta1 == 16 || beta1 == 32 || beta1 == 64 ||
              beta1 == 128,
          "beta1 must be 8, 16, 32, 64, 128 or a whole row, not " + std::to_string(beta1));
  require(statistic_bits(format.scale_bits),
          "scale bits must be 2..8, or 16 for unquantized, not " + std::to_string(format.scale_bits));
  require(statistic_bits(format.zero_bits),
          "zero bits must be 2..8, or 16 for unquantized, not " + std::to_string(format.zero_bits));
  require((format.scale_bits == SpqrFormat::kUnquantized) == (format.zero_bits == SpqrFormat::kUnquantized),
          "scales and zeros are quantized together or not at all, not " + std::to_string(format.scale_bits) +
              " and " + std::to_string(format.zero_bits) + " bits");
  if (!format.quantized_statistics()) return;
  const int beta2 = format.beta2;
  require(beta2 == 8 || beta2 == 16 || beta2 == 32 || beta2 == 64,
          "beta2 must be 8, 16, 32 or 64, not " + std::to_string(beta2));
}

double bits_per_weight(const SpqrFormat& format, std::int64_t n, double outlier_share) {
  const auto beta1 = static_cast<double>(format.group_columns(n));
  const double first_level = (format.scale_bits + format.zero_bits) / beta1;
  const double second_level = format.quantized_statistics() ? 64 / (beta1 * format.beta2) : 0;
  return format.bits + first_level + second_level + 32 * outlier_share;
}

std::vector<float> dequantize(const SpqrParts& parts) {
  const SpqrFormat& format = parts.format;
  const std::int64_t group_columns = format.group_columns(parts.n);
  const std::int64_t tiles = format.quantized_statistics() ? format.tiles(parts.m) : 0;
  const auto original = [&](std::int64_t j) -> std::int64_t {
    return parts.perm.empty() ? j : parts.perm[j];
  };
  std::vector<float> w(static_cast<std::size_t>(parts.m * parts.n));
  parallel_for(parts.m, [&](std::int64_t row) {
    float* out = w.data() + row * parts.n;
    for (std::int64_t group = 0; group * group_columns < parts.n; ++group) {
      const std::int64_t at = group * parts.m + row;
      float scale;
      float zero;
      if (format.quantized_statistics()) {
        const std::int64_t tile = group * tiles + row / format.beta2;
        scale =
            parts.scale_scale[tile] * (static_cast<float>(parts.scale_codes[at]) - parts.scale_zero[tile]);
        zero = parts.zero_scale[tile] * (static_cast<float>(parts.zero_codes[at]) - parts.zero_zero[tile]);
      } else {
        scale = parts.scales[at];
        zero = parts.zeros[at];
      }
      const std::int64_t end = std::min(parts.n, (group + 1) * group_columns);
      for (std::int64_t j = group * group_columns; j < end; ++j) {
        out[original(j)] = scale * (static_cast<float>(parts.codes[row * parts.n + j]) - zero);
      }
    }
    if (parts.row_offsets.empty()) return;
    for (std::uint32_t i = parts.row_offsets[row]; i < parts.row_offsets[row + 1]; ++i) {
      out[original(parts.columns[i])] += parts.values[i];
    }
  });
  return w;
}

}  // namespace spqr
