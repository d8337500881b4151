#include "kernels/spqr_matrix.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

#include <doctest/doctest.h>

#include "tests/kernels/format_reader.h"
#include "tests/kernels/random_parts.h"

namespace spqr {
namespace {

void check_equal(const SpqrParts& a, const SpqrParts& b) {
  REQUIRE(a.codes == b.codes);
  REQUIRE(a.scale_codes == b.scale_codes);
  REQUIRE(a.zero_codes == b.zero_codes);
  REQUIRE(a.scale_scale == b.scale_scale);
  REQUIRE(a.scale_zero == b.scale_zero);
  REQUIRE(a.zero_scale == b.zero_scale);
  REQUIRE(a.zero_zero == b.zero_zero);
  REQUIRE(a.scales == b.scales);
  REQUIRE(a.zeros == b.zeros);
  REQUIRE(a.columns == b.columns);
  REQUIRE(a.values == b.values);
  if (!a.columns.empty()) REQUIRE(a.row_offsets == b.row_offsets);
}

// What the reader finds must be what was packed.
void check_reader(const SpqrParts& parts, const PackedMatrix& packed) {
  const FormatReader reader(packed.view());
  REQUIRE(reader.bytes() == std::ssize(packed.dense));
  std::int64_t wrong = 0;
  for (std::int64_t row = 0; row < parts.m; ++row) {
    for (std::int64_t j = 0; j < parts.n; ++j) wrong += reader.code(row, j) != parts.codes[row * parts.n + j];
    for (std::int64_t group = 0; group < parts.format.groups(parts.n); ++group) {
      const std::int64_t at = group * parts.m + row;
      if (!parts.format.quantized_statistics()) {
        wrong += reader.unquantized_scale(row, group) != parts.scales[at];
        wrong += reader.unquantized_zero(row, group) != parts.zeros[at];
        continue;
      }
      const std::int64_t tile = group * parts.format.tiles(parts.m) + row / parts.format.beta2;
      wrong += reader.scale_code(row, group) != parts.scale_codes[at];
      wrong += reader.zero_code(row, group) != parts.zero_codes[at];
      wrong += reader.second_level(row, group, 0) != parts.scale_scale[tile];
      wrong += reader.second_level(row, group, 1) != parts.scale_zero[tile];
      wrong += reader.second_level(row, group, 2) != parts.zero_scale[tile];
      wrong += reader.second_level(row, group, 3) != parts.zero_zero[tile];
    }
  }
  REQUIRE(wrong == 0);
}

void check_all(const SpqrParts& parts, const std::string& what) {
  INFO(what);
  const PackedMatrix packed = pack(parts);
  REQUIRE(packed.dense.size() == packed_bytes(parts.format, parts.m, parts.n));
  REQUIRE(packed.dense.size() % 64 == 0);
  check_reader(parts, packed);
  const SpqrParts unpacked = unpack(packed.view());
  check_equal(parts, unpacked);

  const std::vector<float> w = dequantize(unpacked);
  const FormatReader reader(packed.view());
  std::vector<float> row_values(static_cast<std::size_t>(parts.n));
  for (std::int64_t row = 0; row < parts.m; ++row) {
    dequantize_row(packed.view(), row, row_values.data());
    REQUIRE(std::equal(row_values.begin(), row_values.end(), w.begin() + row * parts.n));
  }
  // In units of 2^-24 of |s| (q + |z|): two roundings in s, two in z, one in q - z, one in the product; and
  // one of the sum with the outlier.
  std::int64_t wrong = 0;
  for (std::int64_t row = 0; row < parts.m; ++row) {
    for (std::int64_t j = 0; j < parts.n; ++j) {
      const auto [value, size] = reader.weight(row, j);
      wrong += !(std::abs(w[row * parts.n + j] - value) <= 8 * 0x1p-24 * size);
    }
  }
  REQUIRE(wrong == 0);
}

TEST_CASE("what is packed is what a reader of FORMAT.md finds: all settings") {
  std::mt19937 random(1);
  for (int bits = 2; bits <= 8; ++bits) {
    for (std::int64_t beta1 : {8, 16, 32, 64, 128, 0}) {
      SpqrFormat format = random_format(random);
      format.bits = bits;
      format.beta1 = beta1;
      const auto outliers = static_cast<Outliers>(random() % 3);
      const SpqrParts parts = random_parts(format, 1 + random() % 140, 1 + random() % 1200, outliers, random);
      check_all(parts, describe(parts, outliers));
    }
  }
}

TEST_CASE("what is packed is what a reader of FORMAT.md finds: ragged and small shapes") {
  std::mt19937 random(2);
  for (int i = 0; i < 200; ++i) {
    const auto m = static_cast<std::int64_t>(1 + random() % (i % 4 == 0 ? 10 : 200));
    const auto n = static_cast<std::int64_t>(1 + random() % (i % 3 == 0 ? 10 : 200));
    const auto outliers = static_cast<Outliers>(random() % 3);
    const SpqrParts parts = random_parts(random_format(random), m, n, outliers, random);
    check_all(parts, describe(parts, outliers));
  }
}

TEST_CASE("the dense part exceeds the paper's size by less than 1 %") {
  constexpr std::int64_t kShapes[][2] = {
      {1024, 1024}, {1025, 1025}, {1536, 1536},  {1536, 8960},  {2048, 5632},  {4096, 4096}, {4096, 11008},
      {4097, 1031}, {4544, 4544}, {11008, 4096}, {13824, 5120}, {22016, 8192}, {1087, 4095}, {32000, 4096}};
  constexpr SpqrFormat kFormats[] = {
      {4, 16, 16, 3, 3},  {3, 8, 64, 3, 3},  {3, 16, 16, 3, 3}, {3, 16, 64, 3, 3},   {2, 16, 16, 3, 3},
      {2, 32, 32, 3, 3},  {3, 32, 64, 3, 3}, {8, 8, 8, 8, 8},   {4, 32, 16, 16, 16}, {8, 32, 16, 16, 16},
      {4, 0, 16, 16, 16}, {2, 64, 16, 3, 3}, {3, 128, 64, 3, 3}};
  for (const auto& shape : kShapes) {
    const std::int64_t m = shape[0];
    const std::int64_t n = shape[1];
    for (const SpqrFormat& format : kFormats) {
      const double stored =
          8.0 * static_cast<double>(packed_bytes(format, m, n)) / static_cast<double>(m * n);
      INFO(m, " x ", n, ": ", format.bits, " bits, beta1 ", format.beta1, ", beta2 ", format.beta2, ": ",
           stored);
      CHECK(stored >= bits_per_weight(format, n, 0));
      CHECK(stored < 1.01 * bits_per_weight(format, n, 0));
    }
  }
  CHECK(packed_bytes({3, 16, 16, 3, 3}, 4096, 11008) == 4096 * 11008 / 8 * 3.625);
  CHECK(packed_bytes({3, 8, 64, 3, 3}, 4096, 4096) == 4096 * 4096 / 8 * 3.875);
}

TEST_CASE("scales keep 11 bits whatever their size") {
  for (float size : {1e-9F, 1e-5F, 1.0F, 60000.0F, 1e20F}) {
    SpqrParts parts;
    parts.format = {4, 8, 8, 16, 16};
    parts.m = 1;
    parts.n = 16;
    parts.codes.assign(16, 5);
    parts.scales = {size, size / 1000};
    parts.zeros = {4, 4};
    const SpqrParts back = unpack(pack(parts).view());
    CHECK(std::abs(back.scales[0] - size) <= std::ldexp(size, -11));
    CHECK(std::abs(back.scales[1] - size / 1000) <= std::ldexp(size / 1000, -11));
  }
}

TEST_CASE("scales too small for any factor become zero, and all zero scales are fine") {
  SpqrParts parts;
  parts.format = {4, 8, 8, 16, 16};
  parts.m = 1;
  parts.n = 16;
  parts.codes.assign(16, 5);
  parts.zeros = {4, 4};
  parts.scales = {0, 0};
  CHECK(pack(parts).factor == 1);
  parts.scales = {std::numeric_limits<float>::denorm_min(), 0};
  validate(pack(parts).view());
  parts.scales = {std::numeric_limits<float>::max(), 1};
  CHECK_THROWS_AS(pack(parts), std::invalid_argument);  // rounds to 2^128
  parts.scales = {3e38F, std::numeric_limits<float>::denorm_min()};
  const SpqrParts back = unpack(pack(parts).view());
  CHECK(back.scales[0] == doctest::Approx(3e38).epsilon(1e-3));
  CHECK(back.scales[1] == 0);
}

TEST_CASE("parts that do not fit together are refused") {
  std::mt19937 random(3);
  const SpqrParts good = random_parts({3, 16, 16, 3, 3}, 70, 90, Outliers::some, random);
  const auto refused = [&](auto change, const std::string& word) {
    SpqrParts parts = good;
    change(parts);
    INFO(word);
    CHECK_THROWS_WITH_AS(pack(parts), doctest::Contains(word.c_str()), std::invalid_argument);
  };
  refused([](SpqrParts& p) { p.m = 0; }, "at least one row");
  refused([](SpqrParts& p) { p.format.bits = 1; }, "bits must be");
  refused([](SpqrParts& p) { p.codes.pop_back(); }, "codes has 6299 entries, not 6300");
  refused([](SpqrParts& p) { p.codes[7] = 8; }, "more than 3 bits");
  refused([](SpqrParts& p) { p.zero_codes[7] = 8; }, "more than 3 bits");
  refused([](SpqrParts& p) { p.scale_codes.clear(); }, "scale_codes");
  refused([](SpqrParts& p) { p.zero_zero[0] = 1e6F; }, "zero_zero holds 1000000");
  refused([](SpqrParts& p) { p.scale_scale[0] = NAN; }, "scale_scale");
  refused([](SpqrParts& p) { p.scale_scale[0] = INFINITY; }, "scale_scale");
  refused([](SpqrParts& p) { p.values[0] = 1e6F; }, "values holds");
  refused([](SpqrParts& p) { p.values.pop_back(); }, "values");
  refused([](SpqrParts& p) { p.columns[0] = 90; }, "column 90 of 90");
  refused([](SpqrParts& p) { p.row_offsets.pop_back(); }, "row_offsets");
  refused([](SpqrParts& p) { p.row_offsets.clear(); }, "no row offsets");
}

TEST_CASE("packed matrices that a hostile file may hold are refused") {
  std::mt19937 random(4);
  SpqrParts parts = random_parts({3, 16, 16, 3, 3}, 70, 90, Outliers::everywhere, random);
  const PackedMatrix good = pack(parts);
  validate(good.view());
  const auto refused = [&](auto change, const std::string& word) {
    PackedMatrix matrix = good;
    change(matrix);
    INFO(word);
    CHECK_THROWS_WITH_AS(validate(matrix.view()), doctest::Contains(word.c_str()), std::invalid_argument);
  };
  refused([](PackedMatrix& p) { p.m = -1; }, "at least one row");
  refused([](PackedMatrix& p) { p.format.beta1 = 17; }, "beta1");
  refused([](PackedMatrix& p) { p.dense.pop_back(); }, "bytes, not");
  refused([](PackedMatrix& p) { p.m = 71; }, "bytes, not");
  for (float factor : {0.0F, -1.0F, 3.0F, NAN, INFINITY, 1e-40F}) {
    refused([&](PackedMatrix& p) { p.factor = factor; }, "power of two");
  }
  refused([](PackedMatrix& p) { p.row_offsets.clear(); }, "no row offsets");
  refused([](PackedMatrix& p) { p.row_offsets.pop_back(); }, "row_offsets should have 71 entries, not 70");
  refused([](PackedMatrix& p) { p.row_offsets[0] = 1; }, "row_offsets[0]");
  refused([](PackedMatrix& p) { p.row_offsets[3] = 1; }, "row_offsets[3] is 1, less than the one before");
  refused([](PackedMatrix& p) { p.row_offsets[3] = 0xFFFFFFFF; }, "less than the one before, 4294967295");
  refused([](PackedMatrix& p) { p.row_offsets.back() += 1; }, "the last row offset");
  refused([](PackedMatrix& p) { p.col_vals.pop_back(); }, "the last row offset");
  refused([](PackedMatrix& p) { p.col_vals[89] = 90; }, "column 90 of 90");
  refused([](PackedMatrix& p) { p.col_vals[89] = 88; }, "after one in column 88");
  refused([](PackedMatrix& p) { p.col_vals[0] |= 0x7C000000U; }, "not finite");
}

TEST_CASE("extents that no file can have are refused without arithmetic going wrong") {
  constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
  const SpqrFormat format;
  CHECK_THROWS_AS(packed_bytes(format, kMax, 1), std::overflow_error);
  CHECK_THROWS_AS(packed_bytes(format, 1, kMax), std::overflow_error);
  CHECK_THROWS_AS(packed_bytes(format, std::int64_t{1} << 40, std::int64_t{1} << 40), std::overflow_error);
  CHECK_THROWS_AS(packed_bytes({8, 0, 8, 8, 8}, std::int64_t{1} << 48, std::int64_t{1} << 48),
                  std::overflow_error);
  CHECK(packed_bytes(format, 1, 1) == 64);
  CHECK_THROWS_AS(packed_bytes(format, 0, 1), std::invalid_argument);
  CHECK_THROWS_AS(packed_bytes(format, 1, std::numeric_limits<std::int64_t>::min()), std::invalid_argument);
}

}  // namespace
}  // namespace spqr
