// The packed weight: one matrix as it lies in a .spqr file and as the CPU kernels read it.
// The bit picture is in models/FORMAT.md, and in code in kernels/spqr_layout.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/spqr_format.h"

namespace spqr {

// Non-owning. All of it has been validated (validate(SpqrMatrix)), so kernels check nothing.
struct SpqrMatrix {
  SpqrFormat format;
  std::int64_t m = 0;
  std::int64_t n = 0;
  // Multiplies every stored scale (ss, or s if unquantized); a power of two.
  float factor = 1;
  // Codes and statistics, packed_bytes(format, m, n). Any alignment works; 64 bytes is fastest.
  std::span<const std::byte> dense;
  // (m + 1), or empty: no outliers
  std::span<const std::uint32_t> row_offsets;
  // (nnz) low half: column (permuted order), high half: f16 addend
  std::span<const std::uint32_t> col_vals;

  std::size_t bytes() const { return dense.size_bytes() + row_offsets.size_bytes() + col_vals.size_bytes(); }
};

// Owns what an SpqrMatrix views.
struct PackedMatrix {
  SpqrFormat format;
  std::int64_t m = 0;
  std::int64_t n = 0;
  float factor = 1;
  std::vector<std::byte> dense;
  std::vector<std::uint32_t> row_offsets;
  std::vector<std::uint32_t> col_vals;

  SpqrMatrix view() const { return {format, m, n, factor, dense, row_offsets, col_vals}; }
};

// Bytes of the dense part. Throws std::overflow_error if it does not fit in 63 bits.
std::size_t packed_bytes(const SpqrFormat& format, std::int64_t m, std::int64_t n);

// Packs `parts` (perm is not part of it: it belongs to the input). Scales are divided by a power-of-two
// factor chosen so that no f16 is subnormal or infinite where it can be avoided. Throws std::invalid_argument
// on parts that do not fit together or hold values that f16 cannot.
PackedMatrix pack(const SpqrParts& parts);
SpqrParts unpack(const SpqrMatrix& matrix);

// Checks what a hostile file can get wrong: format, extents, sizes, factor, row offsets that fall or end
// elsewhere, columns out of range or not ascending, outliers that are not finite. Throws
// std::invalid_argument with a sentence, std::overflow_error for extents that no file can have. `dense` is
// not read: any bytes decode to something (statistics may be infinite or NaN, and then so are weights).
void validate(const SpqrMatrix& matrix);

// Row `row` of W, dense and sparse part, f32 (n), in the stored (permuted) column order: the specification in
// code, and what embeddings use.
void dequantize_row(const SpqrMatrix& matrix, std::int64_t row, float* out);

}  // namespace spqr
