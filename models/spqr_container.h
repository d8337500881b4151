// Names and rules of the .spqr container that its reader and writer share. FORMAT.md is their specification.
#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "kernels/spqr_matrix.h"
#include "kernels/tensor.h"

namespace spqr::container {

inline constexpr const char* kFormat = "spqr";
inline constexpr const char* kVersion = "1";
inline constexpr std::size_t kAlignment = 64;

// Keys of __metadata__.
inline constexpr const char* kFormatKey = "format";
inline constexpr const char* kVersionKey = "spqr_version";
inline constexpr const char* kRequiredKey =
    "required";  // JSON array of strings: a reader knows all of them or refuses
inline constexpr const char* kConfigKey = "config";
inline constexpr const char* kQuantizationKey = "quantization";
inline constexpr const char* kMatricesKey = "matrices";
inline constexpr const char* kTokenizerKey = "tokenizer";
inline constexpr const char* kChecksumsKey = "checksums";

// Tensors of a packed module M: M.dense, M.row_counts, M.col_vals.
inline constexpr const char* kDense = ".dense";
inline constexpr const char* kRowCounts = ".row_counts";
inline constexpr const char* kColVals = ".col_vals";
inline constexpr const char* kTokenizerPrefix = "tokenizer/";
inline constexpr const char* kPaddingPrefix = "padding/";

constexpr std::size_t aligned(std::size_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

// A header of `text_bytes` with its length field, up to where the data may begin.
constexpr std::size_t framed_bytes(std::size_t text_bytes) {
  return aligned(sizeof(std::uint64_t) + text_bytes);
}
// The length field and the header, filled up with spaces to `size` bytes in all.
std::string framed(const std::string& header, std::uint64_t size);

// safetensors' name of f32, f16 and bf16; throws std::invalid_argument for others.
std::string dtype_name(DType dtype);

// Entries of an array of elements of `element` bytes that ends on the alignment.
constexpr std::int64_t aligned_entries(std::int64_t entries, std::size_t element) {
  const auto step = static_cast<std::int64_t>(kAlignment / element);
  return (entries + step - 1) / step * step;
}

// Permutations of at most this many columns are stored as u16, others as u32.
inline constexpr std::int64_t kNarrowColumns = 65536;

// The file has a u16 for every row where memory has u32 offsets: in small matrices the offsets would be more
// than 1 % of it. row_counts() throws std::invalid_argument for a row with more outliers than u16 counts,
// row_offsets() std::runtime_error naming `where` unless the counts add up to nnz.
std::vector<std::uint16_t> row_counts(std::span<const std::uint32_t> row_offsets);
std::vector<std::uint32_t> row_offsets(std::span<const std::uint16_t> row_counts, std::int64_t nnz,
                                       const std::string& where);

// Bytes of a packed matrix in the file, without its permutation, which it may share, and what fills up to the
// alignment; and those of a permutation of n columns.
std::size_t stored_bytes(const SpqrMatrix& matrix);
constexpr std::size_t permutation_bytes(std::int64_t n) {
  return static_cast<std::size_t>(n) * (n <= kNarrowColumns ? sizeof(std::uint16_t) : sizeof(std::uint32_t));
}

// XXH3-64 of the bytes, 16 lower-case hexadecimal digits.
std::string checksum(std::span<const std::byte> bytes);

// What "matrices" says of one packed module.
struct MatrixEntry {
  SpqrFormat format;
  std::int64_t m = 0;
  std::int64_t n = 0;
  std::int64_t nnz = 0;
  float factor = 1;
  std::string perm;  // tensor name; empty: none
};

nlohmann::json to_json(const MatrixEntry& entry);
// Throws std::runtime_error naming `where` for unknown, missing or mistyped fields and values out of range.
MatrixEntry matrix_entry(const nlohmann::json& object, const std::string& where);

}  // namespace spqr::container
