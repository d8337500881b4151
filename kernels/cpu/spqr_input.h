// One token's activations as the strip kernels read them, made once for all matrices that share them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kernels/activation_type.h"
#include "kernels/spqr_layout.h"
#include "kernels/spqr_matrix.h"

namespace spqr {

struct SpqrStripKernels;

// Columns are worked on in spans: a group or a part of it that has a sum of x, and in int8 a scale, of its
// own.
struct SpqrSpans {
  // f32: sums of up to 256 products. int8: sums of 32 products fit in 16 bits (spqr_strip_int8.h), and short
  // spans lose less.
  static constexpr std::int64_t kMaxColumnsF32 = 256;
  static constexpr std::int64_t kMaxColumnsInt8 = 32;

  SpqrSpans(const SpqrFormat& format, std::int64_t n, ActivationType activations)
      : columns(activations == ActivationType::int8 ? kMaxColumnsInt8 : kMaxColumnsF32) {
    if (format.beta1 != SpqrFormat::kWholeRow) columns = std::min(columns, format.beta1);
    count = (n + columns - 1) / columns;
  }

  std::int64_t columns;  // of all but the last
  std::int64_t count;
};

// View of an SpqrInput. Columns beyond n, up to a whole unit of 8, are zero.
struct SpqrInputView {
  const float* x;             // (units * 8)
  const std::int8_t* codes;   // (units * 8); int8 only: x is about scales[span] * code
  const float* scales;        // (spans); int8 only
  const float* sums;          // (spans) of x, or of scale * code
  std::int64_t span_columns;  // of all spans but the last
};

// Keeps its memory from token to token.
class SpqrInput {
 public:
  // x (n) in the stored (permuted) column order of a matrix of this format.
  void assign(const SpqrStripKernels& kernels, const SpqrFormat& format, const float* x, std::int64_t n,
              ActivationType activations);
  SpqrInputView view() const {
    return {x_.data(), codes_.data(), scales_.data(), sums_.data(), span_columns_};
  }

 private:
  std::vector<float> x_;
  std::vector<std::int8_t> codes_;
  std::vector<float> scales_;
  std::vector<float> sums_;
  std::int64_t span_columns_ = 0;
};

}  // namespace spqr
