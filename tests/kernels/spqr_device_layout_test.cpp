// A placed matrix, read back from the device with a decoder that knows only the words and the picture at the
// top of kernels/cuda/spqr_device_layout.h.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include <doctest/doctest.h>
#include <fmt/format.h>

#include "kernels/half.h"
#include "tests/kernels/operands.h"
#include "tests/kernels/random_parts.h"

namespace spqr {
namespace {

class DeviceReader {
 public:
  DeviceReader(const SpqrFormat& format, std::int64_t m, std::int64_t n, std::vector<std::byte> dense)
      : format_(format), groups_(format.groups(n)), panels_((n + 63) / 64), dense_(std::move(dense)) {
    const std::int64_t strips = (m + 63) / 64;
    width_ = format.quantized_statistics() ? 2 * (format.scale_bits + format.zero_bits) : 0;
    quads_ = format.quantized_statistics() ? 64 / format.beta2 : 32;
    fields_ = up(strips * panels_ * format.bits * 512);
    quads_at_ = up(fields_ + strips * groups_ * width_ * 4);
    peaks_ = up(quads_at_ + strips * groups_ * quads_ * 8);
    bytes_ = up(peaks_ + strips * 4);
  }
  std::int64_t bytes() const { return bytes_; }

  // Row and column may be padding.
  int code(std::int64_t row, std::int64_t column) const {
    const std::int64_t strip = row / 64;
    const std::int64_t panel = column / 64;
    const std::int64_t tile = row % 64 / 16;
    const std::int64_t block = column % 64 / 16;
    const std::int64_t lane = row % 8 * 4 + column % 8 / 2;
    const std::int64_t r = row % 16 / 8 + 2 * (column % 16 / 8);
    static const std::vector<int> widths[] = {{}, {}, {2}, {2, 1}, {4}, {4, 1}, {4, 2}, {4, 2, 1}, {4, 4}};
    int code = 0;
    int low = 0;
    for (const int p : widths[format_.bits]) {
      const std::int64_t w = low + tile * p / 4;
      const std::int64_t vector = ((strip * panels_ + panel) * format_.bits + w) * 32 + lane;
      const std::int64_t bit = column % 2 * 16 + r * 4 + tile * p % 4;
      for (int i = 0; i < p; ++i) code |= bit_at(16 * vector + 4 * block, bit + i) << (low + i);
      low += p;
    }
    return code;
  }

  int scale_code(std::int64_t row, std::int64_t group) const {
    return field(row, group, row % 16 / 8 * format_.scale_bits, format_.scale_bits);
  }
  int zero_code(std::int64_t row, std::int64_t group) const {
    return field(row, group, 2 * format_.scale_bits + row % 16 / 8 * format_.zero_bits, format_.zero_bits);
  }
  // 0 ss, 1 sz, 2 zs, 3 zz
  float second_level(std::int64_t row, std::int64_t group, std::int64_t which) const {
    return half_at(quad(row, group, row % 64 / format_.beta2) + 2 * which);
  }
  // 0 s, 1 z
  float unquantized(std::int64_t row, std::int64_t group, std::int64_t which) const {
    return half_at(quad(row, group, lane_of(row)) + 4 * (row % 16 / 8) + 2 * which);
  }
  float peak(std::int64_t strip) const {
    float value;
    std::memcpy(&value, dense_.data() + peaks_ + 4 * strip, sizeof value);
    return value;
  }

 private:
  static std::int64_t up(std::int64_t bytes) { return (bytes + 255) / 256 * 256; }
  // The lane that holds sums of a row: rows 16 t + g and 16 t + g + 8.
  static std::int64_t lane_of(std::int64_t row) { return row % 8 * 4 + row % 64 / 16; }
  int bit_at(std::int64_t byte, std::int64_t bit) const {
    return std::to_integer<int>(dense_[static_cast<std::size_t>(byte + bit / 8)]) >> (bit % 8) & 1;
  }
  float half_at(std::int64_t byte) const {
    std::uint16_t bits;
    std::memcpy(&bits, dense_.data() + byte, sizeof bits);
    return f16_to_f32(bits);
  }
  std::int64_t quad(std::int64_t row, std::int64_t group, std::int64_t index) const {
    return quads_at_ + ((row / 64 * groups_ + group) * quads_ + index) * 8;
  }
  int field(std::int64_t row, std::int64_t group, std::int64_t first, int bits) const {
    int value = 0;
    for (int i = 0; i < bits; ++i) {
      value |= bit_at(fields_ + (row / 64 * groups_ + group) * width_ * 4, width_ * lane_of(row) + first + i)
               << i;
    }
    return value;
  }

  SpqrFormat format_;
  std::int64_t groups_, panels_, width_, quads_, fields_, quads_at_, peaks_, bytes_;
  std::vector<std::byte> dense_;
};

void check_codes(const DeviceReader& reader, const SpqrParts& parts, const std::string& what) {
  const std::int64_t rows = (parts.m + 63) / 64 * 64;
  const std::int64_t columns = (parts.n + 63) / 64 * 64;
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t column = 0; column < columns; ++column) {
      const bool padding = row >= parts.m || column >= parts.n;
      const int expected = padding ? 0 : parts.codes[static_cast<std::size_t>(row * parts.n + column)];
      if (reader.code(row, column) == expected) continue;
      FAIL(what, ", code of row ", row, ", column ", column, ": ", reader.code(row, column), " instead of ",
           expected);
    }
  }
}

// Statistics of a row and group: s (factor not applied), z.
struct Statistics {
  float s, z;
};

Statistics check_statistics(const DeviceReader& reader, const SpqrParts& parts, float factor,
                            std::int64_t row, std::int64_t group, const std::string& what) {
  const bool padding = row >= parts.m;
  const auto at = static_cast<std::size_t>(group * parts.m + row);
  INFO(what, ", statistics of row ", row, ", group ", group);
  if (!parts.format.quantized_statistics()) {
    const Statistics found = {reader.unquantized(row, group, 0), reader.unquantized(row, group, 1)};
    REQUIRE(found.s * factor == (padding ? 0 : parts.scales[at]));
    REQUIRE(found.z == (padding ? 0 : parts.zeros[at]));
    return found;
  }
  REQUIRE(reader.scale_code(row, group) == (padding ? 0 : parts.scale_codes[at]));
  REQUIRE(reader.zero_code(row, group) == (padding ? 0 : parts.zero_codes[at]));
  const std::int64_t tiles = parts.format.tiles(parts.m);
  const std::int64_t tile = row / parts.format.beta2;
  const bool none = tile >= tiles;
  const auto quad = static_cast<std::size_t>(group * tiles + tile);
  const float ss = reader.second_level(row, group, 0);
  const float sz = reader.second_level(row, group, 1);
  const float zs = reader.second_level(row, group, 2);
  const float zz = reader.second_level(row, group, 3);
  REQUIRE(ss * factor == (none ? 0 : parts.scale_scale[quad]));
  REQUIRE(sz == (none ? 0 : parts.scale_zero[quad]));
  REQUIRE(zs == (none ? 0 : parts.zero_scale[quad]));
  REQUIRE(zz == (none ? 0 : parts.zero_zero[quad]));
  return {ss * (static_cast<float>(reader.scale_code(row, group)) - sz),
          zs * (static_cast<float>(reader.zero_code(row, group)) - zz)};
}

void check_layout(const SpqrFormat& format, std::int64_t m, std::int64_t n, std::mt19937& random) {
  const SpqrParts parts = random_parts(format, m, n, Outliers::none, random);
  const std::string what = describe(parts, Outliers::none);
  const PackedMatrix packed = pack(parts);
  const auto backend = make_backend("cuda", {});
  const Linear placed = backend->place(Linear{packed.view(), {}});
  const auto& matrix = std::get<SpqrMatrix>(placed.weight);
  std::vector<std::byte> dense(matrix.dense.size());
  backend->download(dense.data(), matrix.dense.data(), dense.size());
  const DeviceReader reader(format, m, n, dense);
  REQUIRE(static_cast<std::int64_t>(dense.size()) == reader.bytes());

  check_codes(reader, parts, what);
  const auto most = static_cast<float>((1 << format.bits) - 1);
  for (std::int64_t strip = 0; 64 * strip < m; ++strip) {
    float peak = 0;
    for (std::int64_t row = 64 * strip; row < 64 * strip + 64; ++row) {
      for (std::int64_t group = 0; group < format.groups(n); ++group) {
        const auto [s, z] = check_statistics(reader, parts, packed.factor, row, group, what);
        peak = std::max(peak, std::abs(s) * std::max(std::abs(z), std::abs(most - z)));
      }
    }
    INFO(what, ", strip ", strip);
    CHECK(reader.peak(strip) == doctest::Approx(peak).epsilon(1e-6));
  }
}

bool cuda_is_present() {
  const std::vector<std::string> names = backend_names();
  if (std::find(names.begin(), names.end(), "cuda") != names.end()) return true;
  MESSAGE("skipped: no cuda backend here");
  return false;
}

}  // namespace

TEST_CASE("cuda: a placed matrix has the file's codes and statistics, every bits and beta1") {
  if (!cuda_is_present()) return;
  std::mt19937 random(1);
  for (int bits = 2; bits <= 8; ++bits) {
    for (const std::int64_t beta1 : {8, 16, 32, 64, 128, 0}) {
      check_layout({bits, beta1, 16, 3, 3}, 64 + bits, 150 + beta1 + bits, random);
    }
  }
}

TEST_CASE("cuda: a placed matrix has the file's statistics, every beta2 and number of bits") {
  if (!cuda_is_present()) return;
  std::mt19937 random(2);
  for (const int beta2 : {8, 16, 32, 64}) {
    for (int scale_bits = 2; scale_bits <= 8; ++scale_bits) {
      const int zero_bits = 2 + (scale_bits + beta2 / 8) % 7;
      check_layout({3, 16, beta2, scale_bits, zero_bits}, 128, 40, random);
    }
    check_layout({4, 32, beta2, 16, 16}, 100, 70, random);
  }
}

TEST_CASE("cuda: placed matrices of any shape, smallest and of several strips and chunks") {
  if (!cuda_is_present()) return;
  std::mt19937 random(3);
  check_layout({3, 16, 16, 3, 3}, 1, 1, random);
  check_layout({8, 8, 8, 8, 8}, 64, 64, random);
  check_layout({3, 16, 16, 3, 3}, 200, 900, random);
  check_layout({5, 0, 32, 16, 16}, 130, 333, random);
  for (int i = 0; i < 40; ++i) {
    const auto m = static_cast<std::int64_t>(1 + random() % (i % 3 == 0 ? 12 : 200));
    const auto n = static_cast<std::int64_t>(1 + random() % (i % 5 == 0 ? 12 : 300));
    check_layout(random_format(random), m, n, random);
  }
}

}  // namespace spqr
