#include "kernels/half.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

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

TEST_CASE("bulk conversions equal those of single values, whatever the count") {
  std::vector<std::uint16_t> halves;
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const bool nan = (bits & 0x7c00U) == 0x7c00U && (bits & 0x3ffU) != 0;
    if (!nan) halves.push_back(static_cast<std::uint16_t>(bits));
  }
  // Every f16, and the f32 halfway to its successor and next to that: ties, overflow and subnormals.
  std::vector<float> floats;
  for (const std::uint16_t bits : halves) {
    const auto value = std::bit_cast<std::uint32_t>(f16_to_f32(bits));
    for (const std::uint32_t step : {0U, 0xfffU, 0x1000U, 0x1001U})
      floats.push_back(std::bit_cast<float>(value + step));
  }
  std::erase_if(floats, [](float value) { return std::isnan(value); });

  std::vector<float> widened(halves.size());
  f16_to_f32(halves.data(), widened.data(), halves.size());
  std::vector<std::uint16_t> narrowed(floats.size());
  f32_to_f16(floats.data(), narrowed.data(), floats.size());
  std::vector<std::uint16_t> brains(floats.size());
  f32_to_bf16(floats.data(), brains.data(), floats.size());
  std::vector<float> from_brains(floats.size());
  bf16_to_f32(brains.data(), from_brains.data(), floats.size());
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < halves.size(); ++i) {
    wrong += std::bit_cast<std::uint32_t>(widened[i]) != std::bit_cast<std::uint32_t>(f16_to_f32(halves[i]));
  }
  for (std::size_t i = 0; i < floats.size(); ++i) {
    wrong += narrowed[i] != f32_to_f16(floats[i]);
    wrong += brains[i] != f32_to_bf16(floats[i]);
    wrong += from_brains[i] != bf16_to_f32(brains[i]);
  }
  CHECK(wrong == 0);

  for (std::size_t count = 0; count < 40; ++count) {
    std::vector<float> out(count + 1, -1.0F);
    f16_to_f32(halves.data() + 0x3c01, out.data(), count);
    for (std::size_t i = 0; i < count; ++i) CHECK(out[i] == f16_to_f32(halves[0x3c01 + i]));
    CHECK(out[count] == -1.0F);
  }
}
