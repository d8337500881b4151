#include "models/alibi.h"

#include <bit>
#include <cmath>

#include "kernels/half.h"

namespace spqr {
namespace {

float round_to_bf16(float value) {
  std::uint16_t stored = 0;
  f32_to_bf16(&value, &stored, 1);
  bf16_to_f32(&stored, &value, 1);
  return value;
}

// A geometric sequence that ends at 2^-8 for a power of two of heads; for another number that of the next
// lower power, then every other term of that of the next higher one.
std::vector<float> slopes(std::int64_t heads) {
  const auto lower = static_cast<std::int64_t>(std::bit_floor(static_cast<std::uint64_t>(heads)));
  const auto base = [](std::int64_t count) {
    return static_cast<float>(std::exp2(-8.0 / static_cast<double>(count)));
  };
  std::vector<float> values;
  for (std::int64_t h = 0; h < heads; ++h) {
    const bool between = h >= lower;
    const float power = static_cast<float>(between ? 2 * (h - lower) + 1 : h + 1);
    values.push_back(std::pow(base(between ? 2 * lower : lower), power));
  }
  return values;
}

}  // namespace

std::vector<float> falcon_alibi(std::int64_t heads, std::int64_t head_dim, std::int64_t positions) {
  const auto root = static_cast<float>(std::sqrt(static_cast<double>(head_dim)));
  std::vector<float> table;
  table.reserve(static_cast<std::size_t>(heads * positions));
  for (const float exact : slopes(heads)) {
    const float slope = round_to_bf16(exact);
    for (std::int64_t p = 0; p < positions; ++p) {
      table.push_back(round_to_bf16(slope * round_to_bf16(static_cast<float>(p))) / root);
    }
  }
  return table;
}

}  // namespace spqr
