// Round to nearest: hand-computed values, and the bound that the number of codes gives.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "quantizer_cases.h"

namespace spqr {

namespace {

SpqrFormat unquantized(int bits, std::int64_t beta1) {
  return {.bits = bits,
          .beta1 = beta1,
          .beta2 = 16,
          .scale_bits = SpqrFormat::kUnquantized,
          .zero_bits = SpqrFormat::kUnquantized};
}

}  // namespace

TEST_CASE("quantize_rtn of values worked out by hand") {
  // Range [-1, 2] in 4 codes: s = 1, z = 1; halves go to the even code. Range [0, 6]: s = 2, z = 0.
  const std::vector<float> w = {-1.0F, 2.0F, 0.5F, -0.5F, 1.5F, 0.0F,  //
                                0.0F,  6.0F, 1.0F, 3.0F,  2.9F, 4.1F};
  const SpqrParts parts = quantize_rtn(w, 2, 6, unquantized(2, SpqrFormat::kWholeRow));
  CHECK(parts.scales == std::vector<float>{1.0F, 2.0F});
  CHECK(parts.zeros == std::vector<float>{1.0F, 0.0F});
  CHECK(parts.codes == std::vector<std::uint8_t>{0, 3, 2, 0, 2, 1, 0, 3, 0, 2, 1, 2});
  CHECK(parts.row_offsets.empty());
  CHECK(parts.perm.empty());
}

TEST_CASE("quantize_rtn errs by at most half a step, for every width and group, ragged ones too") {
  constexpr std::int64_t m = 45;
  constexpr std::int64_t n = 150;
  std::mt19937 generator(1);
  std::normal_distribution<float> normal(0.0F, 0.05F);
  std::vector<float> w(m * n);
  for (float& x : w) x = normal(generator);
  for (const int bits : {2, 3, 4, 5, 6, 7, 8}) {
    for (const std::int64_t beta1 :
         {std::int64_t{8}, std::int64_t{32}, std::int64_t{128}, SpqrFormat::kWholeRow}) {
      const SpqrFormat format = unquantized(bits, beta1);
      const auto decoded = decode_parts(quantize_rtn(w, m, n, format));
      const std::int64_t columns = format.group_columns(n);
      double worst = 0.0;
      for (std::int64_t i = 0; i < m; ++i) {
        for (std::int64_t begin = 0; begin < n; begin += columns) {
          const auto first = w.begin() + i * n + begin;
          const auto [low, high] = std::minmax_element(first, first + std::min(columns, n - begin));
          const double step = (static_cast<double>(*high) - *low) / ((1 << bits) - 1);
          // s and z are f16: each moves a weight by 2^-11 of the range or of its distance from 0.
          const double bound = 0.5 * step + 0x1p-10 * (std::abs(*low) + std::abs(*high));
          for (std::int64_t j = begin; j < std::min(begin + columns, n); ++j) {
            worst = std::max(worst, std::abs(static_cast<double>(decoded[i * n + j]) - w[i * n + j]) / bound);
          }
        }
      }
      CAPTURE(bits);
      CAPTURE(beta1);
      CHECK(worst <= 1.0);
      CHECK(worst > 0.7);
    }
  }
}

TEST_CASE("quantize_rtn of constants, zeros and far-off narrow ranges") {
  const std::vector<float> zeros(64, 0.0F);
  CHECK(decode_parts(quantize_rtn(zeros, 2, 32, unquantized(4, 32))) == zeros);
  std::vector<float> narrow(32, 100.0F);
  for (std::size_t j = 0; j < 32; ++j) narrow[j] += 1e-5F * static_cast<float>(j);
  const auto decoded = decode_parts(quantize_rtn(narrow, 1, 32, unquantized(4, 32)));
  for (std::size_t j = 0; j < 32; ++j) CHECK(std::abs(decoded[j] - narrow[j]) <= 100.0F * 0x1p-10F);
}

TEST_CASE("quantize_rtn refuses what it cannot quantize") {
  std::vector<float> w(32, 1.0F);
  CHECK_THROWS_AS(quantize_rtn(w, 2, 32, unquantized(4, 32)), std::invalid_argument);
  CHECK_THROWS_AS(quantize_rtn(w, 1, 32, unquantized(1, 32)), std::invalid_argument);
  w[7] = -std::numeric_limits<float>::infinity();
  CHECK_THROWS_WITH(quantize_rtn(w, 1, 32, unquantized(4, 32)),
                    "the weight matrix contains infinity at row 0, column 7: it cannot be quantized");
}

}  // namespace spqr
