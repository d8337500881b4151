// Names and rules of the .spqr container that its reader and writer share. FORMAT.md is their specification.
#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <string>

#include "kernels/spqr_matrix.h"

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

// Tensors of a packed module M: M.dense, M.row_offsets, M.col_vals.
inline constexpr const char* kDense = ".dense";
inline constexpr const char* kRowOffsets = ".row_offsets";
inline constexpr const char* kColVals = ".col_vals";
inline constexpr const char* kTokenizerPrefix = "tokenizer/";
inline constexpr const char* kPaddingPrefix = "padding/";

constexpr std::size_t aligned(std::size_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

// Entries of a u32 array that ends on the alignment.
constexpr std::int64_t aligned_u32(std::int64_t entries) {
  return (entries + 15) / 16 * 16;
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
