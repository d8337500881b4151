#include "kernels/spqr_format.h"

#include <stdexcept>

#include <doctest/doctest.h>

namespace spqr {
namespace {

TEST_CASE("the paper's sizes") {
  CHECK(bits_per_weight({4, 16, 16, 3, 3}, 4096, 0) == doctest::Approx(4.625));
  CHECK(bits_per_weight({3, 8, 64, 3, 3}, 4096, 0) == doctest::Approx(3.875));
  CHECK(bits_per_weight({3, 16, 64, 3, 3}, 4096, 0) == doctest::Approx(3.4375));
  CHECK(bits_per_weight({3, 16, 16, 3, 3}, 4096, 0.01) == doctest::Approx(3.945));
  CHECK(bits_per_weight({4, SpqrFormat::kWholeRow, 16, 16, 16}, 4096, 0) == doctest::Approx(4 + 32 / 4096.0));
}

TEST_CASE("formats that cannot be are refused by field") {
  validate(SpqrFormat{});
  validate(SpqrFormat{2, SpqrFormat::kWholeRow, 7, 16, 16});  // beta2 has no meaning there
  CHECK_THROWS_WITH_AS(validate(SpqrFormat{1, 16, 16, 3, 3}), "SpQR format: bits must be 2..8, not 1",
                       std::invalid_argument);
  CHECK_THROWS_AS(validate(SpqrFormat{9, 16, 16, 3, 3}), std::invalid_argument);
  CHECK_THROWS_AS(validate(SpqrFormat{3, 12, 16, 3, 3}), std::invalid_argument);
  CHECK_THROWS_AS(validate(SpqrFormat{3, -16, 16, 3, 3}), std::invalid_argument);
  CHECK_THROWS_AS(validate(SpqrFormat{3, 16, 0, 3, 3}), std::invalid_argument);
  CHECK_THROWS_AS(validate(SpqrFormat{3, 16, 128, 3, 3}), std::invalid_argument);
  CHECK_THROWS_AS(validate(SpqrFormat{3, 16, 16, 1, 3}), std::invalid_argument);
  CHECK_THROWS_AS(validate(SpqrFormat{3, 16, 16, 3, 9}), std::invalid_argument);
  CHECK_THROWS_AS(validate(SpqrFormat{3, 16, 16, 16, 3}), std::invalid_argument);
}

TEST_CASE("parts mean s (q - z) + outlier, in the original column order") {
  SpqrParts parts;
  parts.format = {2, 8, 8, 3, 3};
  parts.m = 2;
  parts.n = 3;
  parts.codes = {0, 1, 2, 3, 2, 1};
  parts.scale_codes = {1, 3};
  parts.zero_codes = {2, 4};
  parts.scale_scale = {0.5F};
  parts.scale_zero = {-1};
  parts.zero_scale = {0.25F};
  parts.zero_zero = {1};
  parts.row_offsets = {0, 0, 1};
  parts.columns = {1};
  parts.values = {10};
  parts.perm = {2, 0, 1};
  // row 0: s = 0.5 * 2 = 1, z = 0.25;   row 1: s = 0.5 * 4 = 2, z = 0.75
  CHECK(dequantize(parts) == std::vector<float>{0.75F, 1.75F, -0.25F, 12.5F, 0.5F, 4.5F});
  parts.perm.clear();
  CHECK(dequantize(parts) == std::vector<float>{-0.25F, 0.75F, 1.75F, 4.5F, 12.5F, 0.5F});

  parts.format = {2, SpqrFormat::kWholeRow, 8, 16, 16};
  parts.scales = {1, -2};
  parts.zeros = {0, 0.5F};
  parts.row_offsets.clear();
  CHECK(dequantize(parts) == std::vector<float>{0, 1, 2, -5, -3, -1});
}

}  // namespace
}  // namespace spqr
