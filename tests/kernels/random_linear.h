// Random weights of every kind, and what they are in double.
#pragma once

#include <algorithm>
#include <memory>
#include <numeric>
#include <optional>

#include "kernels/half.h"
#include "tests/kernels/operands.h"
#include "tests/kernels/random_parts.h"

namespace spqr {

// A weight that owns its values. `values` and `sizes` are (m, n) in the original column order.
struct RandomLinear {
  Linear linear;
  std::vector<double> values;
  std::vector<double> sizes;  // what a kernel may sum instead: for packed weights |s| (q + |z|) + |outlier|

  std::vector<float> bias;
  std::vector<float> wide;
  std::vector<std::uint16_t> narrow;
  PackedMatrix packed;
};

inline void make_dense(RandomLinear& w, DType dtype, std::int64_t m, std::int64_t n, std::mt19937& random) {
  w.wide = random_vector(m * n, random);
  w.narrow.resize(w.wide.size());
  const void* data = w.narrow.data();
  if (dtype == DType::f16) {
    f32_to_f16(w.wide.data(), w.narrow.data(), w.wide.size());
    f16_to_f32(w.narrow.data(), w.wide.data(), w.wide.size());
  } else if (dtype == DType::bf16) {
    f32_to_bf16(w.wide.data(), w.narrow.data(), w.wide.size());
    bf16_to_f32(w.narrow.data(), w.wide.data(), w.wide.size());
  } else {
    data = w.wide.data();
  }
  w.linear.weight = TensorView{data, dtype, {m, n}};
  for (const float value : w.wide) {
    w.values.push_back(value);
    w.sizes.push_back(std::abs(value));
  }
}

// Column j of the parts is column perm[j] of the weight.
inline void make_packed(RandomLinear& w, const SpqrParts& parts, const std::vector<std::uint32_t>& perm) {
  const std::int64_t m = parts.m;
  const std::int64_t n = parts.n;
  w.packed = pack(parts);
  w.linear.weight = w.packed.view();
  w.values.resize(static_cast<std::size_t>(m * n));
  w.sizes.resize(w.values.size());
  const auto original = [&](std::int64_t row, std::int64_t column) {
    return static_cast<std::size_t>(row * n +
                                    (perm.empty() ? column : perm[static_cast<std::size_t>(column)]));
  };
  const SpqrFormat& f = parts.format;
  for (std::int64_t row = 0; row < m; ++row) {
    for (std::int64_t column = 0; column < n; ++column) {
      const std::int64_t group = column / f.group_columns(n);
      const auto at = static_cast<std::size_t>(group * m + row);
      const auto tile = static_cast<std::size_t>(group * f.tiles(m) + row / f.beta2);
      const bool coded = f.quantized_statistics();
      const double s = coded ? static_cast<double>(parts.scale_scale[tile]) *
                                   (parts.scale_codes[at] - static_cast<double>(parts.scale_zero[tile]))
                             : static_cast<double>(parts.scales[at]);
      const double z = coded ? static_cast<double>(parts.zero_scale[tile]) *
                                   (parts.zero_codes[at] - static_cast<double>(parts.zero_zero[tile]))
                             : static_cast<double>(parts.zeros[at]);
      const double code = parts.codes[static_cast<std::size_t>(row * n + column)];
      w.values[original(row, column)] = s * (code - z);
      w.sizes[original(row, column)] = std::abs(s) * (code + std::abs(z));
    }
    if (parts.row_offsets.empty()) continue;
    for (std::size_t i = parts.row_offsets[static_cast<std::size_t>(row)];
         i < parts.row_offsets[static_cast<std::size_t>(row) + 1]; ++i) {
      w.values[original(row, parts.columns[i])] += static_cast<double>(parts.values[i]);
      w.sizes[original(row, parts.columns[i])] += std::abs(static_cast<double>(parts.values[i]));
    }
  }
}

// kind: a dense dtype, or nullopt for packed.
inline std::unique_ptr<RandomLinear> random_linear(std::optional<DType> kind, std::int64_t m, std::int64_t n,
                                                   bool bias, const std::vector<std::uint32_t>& perm,
                                                   std::mt19937& random) {
  auto w = std::make_unique<RandomLinear>();
  if (kind) {
    make_dense(*w, *kind, m, n, random);
  } else {
    make_packed(*w, random_parts(random_format(random), m, n, static_cast<Outliers>(random() % 3), random),
                perm);
  }
  if (bias) w->linear.bias = w->bias = random_vector(m, random);
  return w;
}

inline std::vector<std::uint32_t> random_permutation(std::int64_t n, std::mt19937& random) {
  std::vector<std::uint32_t> perm(static_cast<std::size_t>(n));
  std::iota(perm.begin(), perm.end(), 0U);
  std::shuffle(perm.begin(), perm.end(), random);
  return perm;
}

}  // namespace spqr
