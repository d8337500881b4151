#include <cmath>

#include "kernels/cpu/kernel_tables.h"
#include "kernels/cpu/spqr_matmul.h"
#include "tests/bench/layout_candidates.h"

namespace spqr {

Int8Input::Int8Input(const float* x, std::int64_t n) : codes(n), scales(n / 16), sums(n / 16) {
  for (std::int64_t group = 0; group < n / 16; ++group) {
    float largest = 1e-30F;
    for (int i = 0; i < 16; ++i) largest = std::max(largest, std::abs(x[16 * group + i]));
    scales[group] = largest / 127;
    for (int i = 0; i < 16; ++i) {
      const auto code = static_cast<std::int8_t>(std::lround(x[16 * group + i] / scales[group]));
      codes[16 * group + i] = code;
      sums[group] += scales[group] * static_cast<float>(code);
    }
  }
}

std::vector<float> group_sums(const float* x, std::int64_t n) {
  std::vector<float> sums(static_cast<std::size_t>(n / 16));
  for (std::int64_t j = 0; j < n; ++j) sums[j / 16] += x[j];
  return sums;
}

namespace {

SpqrMatrix view(const SpqrFormat& format, std::int64_t m, std::int64_t n, float factor,
                const std::byte* packed) {
  return {format, m, n, factor, {packed, packed_bytes(format, m, n)}, {}, {}};
}

Candidate row_lanes(const SpqrParts& parts, const char* name, ActivationType activations, double tolerance) {
  const PackedMatrix packed = pack(parts);
  return {name, packed.dense, tolerance,
          [=, format = parts.format, m = parts.m, n = parts.n, factor = packed.factor](
              const std::byte* bytes, const float* x, float* y) {
            const SpqrMatrix w = view(format, m, n, factor, bytes);
            const SpqrProduct product{.w = &w, .y = y};
            SpqrInput input;
            spqr_matmul(kernel_tables(Isa::avx2), {&product, 1}, {const_cast<float*>(x), 1, n}, activations,
                        input);
          }};
}

}  // namespace

Candidate row_lanes_f32(const SpqrParts& parts) {
  return row_lanes(parts, "row lanes, f32", ActivationType::f32, 1e-5);
}

Candidate row_lanes_int16(const SpqrParts& parts) {
  return row_lanes(parts, "row lanes, int16", ActivationType::automatic, 1e-4);
}

}  // namespace spqr
