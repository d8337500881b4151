// Activations as the strip kernels read them, made once for all matrices that share them.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/activation_type.h"
#include "kernels/cpu/grown.h"
#include "kernels/spqr_layout.h"
#include "kernels/tensor.h"

namespace spqr {

struct KernelTables;

// Up to 256 columns of a strip: what the kernels work on at a time. Whole groups, or part of one that is
// larger.
inline constexpr std::int64_t kBlockColumns = 256;

// A group, or the part of one that a block has.
inline std::int64_t block_group_columns(const SpqrFormat& format, std::int64_t n) {
  return std::min(format.group_columns(n), kBlockColumns);
}

// View of an SpqrInput: of each token a row of each array. Columns beyond n, up to whole blocks, are zero.
struct SpqrInputView {
  std::int64_t tokens = 0;
  std::int64_t columns = 0;  // whole blocks
  const float* x = nullptr;  // (tokens, columns)
  // For outliers: the first tokens once more, kTogether side by side; (sixteens, columns, kTogether)
  static constexpr std::int64_t kTogether = 16;
  std::int64_t sixteens = 0;
  const float* together = nullptr;
  // Of x over the groups of a block; of the whole numbers that codes stand for where there are codes.
  std::int64_t sums_per_block = 0;
  const float* sums = nullptr;  // (tokens, blocks, sums_per_block)
  // int16 only: x is about scale times a whole number, the largest of a block 32639 in size; two bytes a
  // column, each 4 columns in an order of the instruction set's own.
  const std::int8_t* codes = nullptr;  // (tokens, 2 * columns)
  const float* scales = nullptr;       // (tokens, blocks)

  // Some of the tokens.
  SpqrInputView part(std::int64_t first, std::int64_t count) const {
    SpqrInputView view = *this;
    view.tokens = count;
    view.x += first * columns;
    view.sixteens = 0;  // outliers are added for all tokens at once
    view.sums += first * blocks() * sums_per_block;
    view.codes += 2 * first * columns;
    view.scales += first * blocks();
    return view;
  }
  std::int64_t blocks() const { return columns / kBlockColumns; }
  const float* x_of(std::int64_t token) const { return x + token * columns; }
  const float* sums_of(std::int64_t token, std::int64_t block) const {
    return sums + (token * blocks() + block) * sums_per_block;
  }
  const std::int8_t* codes_of(std::int64_t token, std::int64_t block) const {
    return codes + 2 * (token * columns + block * kBlockColumns);
  }
  float scale_of(std::int64_t token, std::int64_t block) const { return scales[token * blocks() + block]; }
};

// Keeps its memory from call to call.
class SpqrInput {
 public:
  // x (tokens, n) in the stored (permuted) column order of a matrix of this format; `outliers`: there may be
  // some.
  void assign(const KernelTables& kernels, const SpqrFormat& format, Matrix x, ActivationType activations,
              bool outliers);
  const SpqrInputView& view() const { return view_; }
  // Memory that it takes at most.
  static std::int64_t most_floats(std::int64_t n, std::int64_t tokens);

 private:
  Growing<float> x_, together_, sums_, scales_;
  Growing<std::int8_t> codes_;
  SpqrInputView view_;
};

}  // namespace spqr
