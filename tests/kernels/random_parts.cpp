#include "tests/kernels/random_parts.h"

#include <cmath>

#include <fmt/format.h>

#include "kernels/half.h"

namespace spqr {
namespace {

std::vector<std::uint8_t> random_codes(std::int64_t count, int bits, std::mt19937& random) {
  std::vector<std::uint8_t> codes(static_cast<std::size_t>(count));
  for (auto& code : codes) code = static_cast<std::uint8_t>(random() & ((1U << bits) - 1));
  return codes;
}

std::vector<float> random_values(std::int64_t count, float mean, float deviation, std::mt19937& random) {
  std::normal_distribution<float> distribution(mean, deviation);
  std::vector<float> values(static_cast<std::size_t>(count));
  for (auto& value : values) value = round_to_f16(distribution(random));
  return values;
}

void add_outliers(SpqrParts& parts, Outliers outliers, std::mt19937& random) {
  if (outliers == Outliers::none) return;
  parts.row_offsets.push_back(0);
  std::normal_distribution<float> value(0, 2);
  for (std::int64_t row = 0; row < parts.m; ++row) {
    for (std::int64_t column = 0; column < parts.n; ++column) {
      if (outliers == Outliers::some && random() % 64 != 0) continue;
      parts.columns.push_back(static_cast<std::uint16_t>(column));
      parts.values.push_back(round_to_f16(value(random)));
    }
    parts.row_offsets.push_back(static_cast<std::uint32_t>(parts.columns.size()));
  }
}

}  // namespace

std::string describe(const SpqrParts& parts, Outliers outliers) {
  const SpqrFormat& f = parts.format;
  return fmt::format("{} bits, {} x {}, statistics {} + {}, {} x {}, outliers {}", f.bits, f.beta1, f.beta2,
                     f.scale_bits, f.zero_bits, parts.m, parts.n, static_cast<int>(outliers));
}

SpqrFormat random_format(std::mt19937& random) {
  constexpr std::int64_t kBeta1[] = {8, 16, 32, 64, 128, SpqrFormat::kWholeRow};
  SpqrFormat format;
  format.bits = 2 + static_cast<int>(random() % 7);
  format.beta1 = kBeta1[random() % 6];
  format.beta2 = 8 << random() % 4;
  if (random() % 4 == 0) {
    format.scale_bits = format.zero_bits = SpqrFormat::kUnquantized;
  } else {
    format.scale_bits = 2 + static_cast<int>(random() % 7);
    format.zero_bits = 2 + static_cast<int>(random() % 7);
  }
  return format;
}

SpqrParts random_parts(const SpqrFormat& format, std::int64_t m, std::int64_t n, Outliers outliers,
                       std::mt19937& random) {
  SpqrParts parts;
  parts.format = format;
  parts.m = m;
  parts.n = n;
  parts.codes = random_codes(m * n, format.bits, random);
  const std::int64_t groups = format.groups(n);
  const float factor = std::ldexp(1.0F, static_cast<int>(random() % 64) - 32);
  std::vector<float>* scales = &parts.scales;
  std::int64_t count = groups * m;
  if (format.quantized_statistics()) {
    count = groups * format.tiles(m);
    parts.scale_codes = random_codes(groups * m, format.scale_bits, random);
    parts.zero_codes = random_codes(groups * m, format.zero_bits, random);
    parts.scale_zero = random_values(count, -4, 2, random);
    parts.zero_scale = random_values(count, 1, 0.5F, random);
    parts.zero_zero = random_values(count, -4, random() % 4 == 0 ? 300 : 3, random);
    scales = &parts.scale_scale;
  } else {
    parts.zeros = random_values(count, 4, random() % 4 == 0 ? 300 : 3, random);
  }
  *scales = random_values(count, 1, 0.25F, random);
  for (float& scale : *scales) scale *= factor;
  add_outliers(parts, outliers, random);
  return parts;
}

}  // namespace spqr
