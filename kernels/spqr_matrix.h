// The packed weight: one matrix as it lies in a .spqr file and as the CPU kernels read it.
// The bit picture is in models/FORMAT.md; this header is the only place that knows it in code.
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
  float factor = 1;  // multiplies every stored scale (ss, or s if unquantized)
  std::span<const std::byte>
      dense;  // packed codes and statistics, packed_bytes(format, m, n), 64-byte aligned
  std::span<const std::uint32_t> row_offsets;  // (m + 1), or empty: no outliers
  std::span<const std::uint32_t> col_vals;  // (nnz) low half: column (permuted order), high half: f16 addend

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

// Checks what a hostile file can get wrong: extents, sizes, row offsets that fall or end elsewhere, columns
// out of range or not ascending, values that are not finite. Throws std::invalid_argument with a sentence.
void validate(const SpqrMatrix& matrix);

// Row `row` of W, dense and sparse part, f32 (n), in the stored (permuted) column order: the specification in
// code, and what embeddings use.
void dequantize_row(const SpqrMatrix& matrix, std::int64_t row, float* out);

}  // namespace spqr
