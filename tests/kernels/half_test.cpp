#include "kernels/half.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

using namespace spqr;

TEST_CASE("f16: every finite value survives the way to f32 and back") {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    if ((bits & 0x7c00U) == 0x7c00U) continue;
    CHECK(f32_to_f16(f16_to_f32(static_cast<std::uint16_t>(bits))) == bits);
  }
}

TEST_CASE("f16: IEEE 754 values, ties and limits") {
  CHECK(f16_to_f32(0x3c00) == 1.0F);
  CHECK(f16_to_f32(0x0001) == 0x1p-24F);
  CHECK(f16_to_f32(0x7bff) == 65504.0F);
  CHECK(f32_to_f16(65519.0F) == 0x7bff);
  CHECK(f32_to_f16(65520.0F) == 0x7c00);
  CHECK(f32_to_f16(0x1.002p0F) == 0x3c00);  // halfway between 1 and the next: to even
  CHECK(f32_to_f16(0x1.006p0F) == 0x3c02);
  CHECK(f32_to_f16(0x1p-25F) == 0x0000);
  CHECK(f32_to_f16(0x1.8p-24F) == 0x0002);
  CHECK(std::isnan(f16_to_f32(f32_to_f16(std::numeric_limits<float>::quiet_NaN()))));
}

TEST_CASE("bf16 rounds to nearest even") {
  CHECK(f32_to_bf16(1.0F) == 0x3f80);
  CHECK(f32_to_bf16(0x1.01p0F) == 0x3f80);
  CHECK(f32_to_bf16(0x1.03p0F) == 0x3f82);
  CHECK(bf16_to_f32(0x4049) == doctest::Approx(3.140625));
}
