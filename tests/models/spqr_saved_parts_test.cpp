#include "models/spqr_saved_parts.h"

#include <doctest/doctest.h>

#include <random>
#include <stdexcept>

namespace spqr {

TEST_CASE("blocks of rows mean what they meant in their matrix") {
  const std::int64_t m = 48;
  const std::int64_t n = 40;
  std::mt19937 random(1);
  const auto numbers = [&](std::int64_t count) {
    std::vector<float> values(static_cast<std::size_t>(count));
    for (float& value : values) value = static_cast<float>(random() % 64) / 16;
    return values;
  };
  const auto codes = [&](std::int64_t count) {
    std::vector<std::uint8_t> values(static_cast<std::size_t>(count));
    for (std::uint8_t& value : values) value = static_cast<std::uint8_t>(random() % 8);
    return values;
  };
  SpqrParts parts;
  parts.m = m;
  parts.n = n;
  parts.format.beta2 = 8;
  parts.codes = codes(m * n);
  for (std::uint32_t j = n; j-- > 0;) parts.perm.push_back(j);
  set_outliers(parts, {{0, 39, 5}, {7, 0, 6}, {24, 3, 7}, {24, 4, 8}}, "test");
  for (const bool quantized : {true, false}) {
    CAPTURE(quantized);
    if (quantized) {
      parts.scale_codes = codes(3 * m);
      parts.zero_codes = codes(3 * m);
      for (auto* second : {&parts.scale_scale, &parts.scale_zero, &parts.zero_scale, &parts.zero_zero})
        *second = numbers(3 * m / 8);
    } else {
      parts.format.scale_bits = parts.format.zero_bits = SpqrFormat::kUnquantized;
      parts.scales = numbers(3 * m);
      parts.zeros = numbers(3 * m);
    }
    const std::vector<float> whole = dequantize(parts);
    for (const std::vector<std::int64_t>& blocks :
         {std::vector<std::int64_t>{1, 0}, std::vector<std::int64_t>{2}}) {
      const std::vector<float> taken = dequantize(select_rows(parts, blocks, 16, "test"));
      std::vector<float> expected;
      for (const std::int64_t block : blocks)
        expected.insert(expected.end(), whole.begin() + block * 16 * n, whole.begin() + (block + 1) * 16 * n);
      CHECK(taken == expected);
    }
    if (quantized)
      CHECK_THROWS_AS(select_rows(parts, {0}, 12, "test"), std::runtime_error);
    else
      CHECK(select_rows(parts, {0}, 12, "test").m == 12);
  }
}

}  // namespace spqr
