// The sparse part of a strip, part of the strip kernels (spqr_strip_body.h): compiled once per instruction
// set, hence the anonymous namespace.
#pragma once

#include "kernels/cpu/spqr_strip_codes.h"

namespace spqr {
namespace {

// Up to kPiece outliers, unpacked. First all are multiplied, row or not; then rows are summed up by sixteens:
// their lengths differ, and a loop that ends somewhere else for every row would be mispredicted for every
// row.
struct OutlierPiece {
  static constexpr std::uint32_t kPiece = 256;
  static constexpr std::uint32_t kSixteen = 16;
  alignas(64) std::uint32_t columns[kPiece];
  alignas(64) float values[kPiece];
  alignas(64) float products[kPiece + kSixteen] = {};

  void assign(const std::uint32_t* col_vals, std::uint32_t count) {
    alignas(64) std::uint16_t halves[kPiece];
    prefetch(reinterpret_cast<const std::byte*>(col_vals), sizeof(*col_vals) * count);
    for (std::uint32_t i = 0; i < count; ++i) {
      columns[i] = col_vals[i] & 0xFFFFU;
      halves[i] = static_cast<std::uint16_t>(col_vals[i] >> 16);
    }
    for (std::uint32_t i = 0; i < count; i += 8)
      store(values + i, load_f16(reinterpret_cast<const std::byte*>(halves + i)));
  }

  void multiply(std::uint32_t count, const float* x) {
    for (std::uint32_t i = 0; i < count; ++i) products[i] = values[i] * x[columns[i]];
  }

  // Of products first .. first + count.
  float sum(std::uint32_t first, std::uint32_t count) const {
    static constexpr std::int32_t kMask[2 * kSixteen] = {-1, -1, -1, -1, -1, -1, -1, -1,
                                                         -1, -1, -1, -1, -1, -1, -1, -1};
    f32x8 left{};
    f32x8 right{};
    for (std::uint32_t i = 0; i < count; i += kSixteen) {
      const std::int32_t* mask = kMask + kSixteen - std::min(kSixteen, count - i);
      left += masked(products + first + i, mask);
      right += masked(products + first + i + 8, mask + 8);
    }
    return sum_of_eight(left + right);
  }

  static f32x8 masked(const float* from, const std::int32_t* mask) {
    return reinterpret_cast<f32x8>(load<u32x8>(from) & load<u32x8>(mask));
  }
};

// Some outliers of a strip and the rows that they are of, whose outliers may begin before and end after them.
struct OutlierRows {
  const std::uint32_t* offsets;  // of all rows
  std::int64_t first_row;
  std::uint32_t begin, end;

  // Calls visit(row, first, count) for each row that has some, `first` counted from begin.
  template <typename Visit>
  void for_each(Visit visit) const {
    std::uint32_t i = begin;
    for (std::int64_t row = first_row; i < end; ++row) {
      const std::uint32_t row_end = std::min(offsets[row + 1], end);
      visit(row, i - begin, row_end - i);
      i = row_end;
    }
  }
};

// y (tokens, stride) += piece times x for tokens from `first` on, one by one.
inline void add_by_token(OutlierPiece& piece, const OutlierRows& rows, const SpqrInputView& x,
                         std::int64_t first, float* y, std::int64_t stride) {
  for (std::int64_t t = first; t < x.tokens; ++t) {
    piece.multiply(rows.end - rows.begin, x.x_of(t));
    rows.for_each([&](std::int64_t row, std::uint32_t i, std::uint32_t count) {
      y[t * stride + row] += piece.sum(i, count);
    });
  }
}

// The same for the tokens of which x is there in sixteens: lanes are tokens. Returns their number.
inline std::int64_t add_by_sixteens(const OutlierPiece& piece, const OutlierRows& rows,
                                    const SpqrInputView& x, float* y, std::int64_t stride) {
  constexpr std::int64_t kTogether = SpqrInputView::kTogether;
  for (std::int64_t t = 0; t < x.sixteens * kTogether; t += kTogether) {
    const float* sixteen = x.together + t * x.columns;
    rows.for_each([&](std::int64_t row, std::uint32_t first, std::uint32_t count) {
      f32x8 left{};
      f32x8 right{};
      for (std::uint32_t i = first; i < first + count; ++i) {
        const float* values = sixteen + kTogether * piece.columns[i];
        left += piece.values[i] * load<f32x8>(values);
        right += piece.values[i] * load<f32x8>(values + 8);
      }
      for (int k = 0; k < 8; ++k) {
        y[(t + k) * stride + row] += left[k];
        y[(t + 8 + k) * stride + row] += right[k];
      }
    });
  }
  return x.sixteens * kTogether;
}

// y (tokens, stride) += sparse part of rows [first, last) times x. The rows are those of one strip or of
// several.
void add_outliers(const SpqrMatrix& w, std::int64_t first, std::int64_t last, const SpqrInputView& x,
                  float* y, std::int64_t stride) {
  const std::uint32_t* offsets = w.row_offsets.data();
  OutlierPiece piece;
  // Pieces start anew with every strip: what is added in which order does not depend on who does which
  // strips.
  for (std::int64_t strip = first; strip < last; strip += kRows) {
    const std::uint32_t strip_end = offsets[std::min(strip + kRows, last)];
    OutlierRows rows{offsets, strip, 0, 0};
    for (rows.begin = offsets[strip]; rows.begin < strip_end; rows.begin = rows.end) {
      rows.end = std::min(strip_end, rows.begin + OutlierPiece::kPiece);
      while (offsets[rows.first_row + 1] <= rows.begin) ++rows.first_row;
      piece.assign(w.col_vals.data() + rows.begin, rows.end - rows.begin);
      const std::int64_t done = add_by_sixteens(piece, rows, x, y, stride);
      add_by_token(piece, rows, x, done, y, stride);
    }
  }
}

}  // namespace
}  // namespace spqr
