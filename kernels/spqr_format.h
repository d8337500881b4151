// What a SpQR matrix is, before any bit picture: the paper's parameters and the unpacked parts.
// Source: arXiv 2306.03078, section 4; docs/design and models/FORMAT.md for how it is stored.
#pragma once

#include <cstdint>
#include <vector>

namespace spqr {

// Parameters of one matrix W (m, n) = (out_features, in_features).
//   w = s (q - z) + outlier      s, z: one pair per row and group of beta1 columns ("first level")
//   s = ss (qs - sz), z = zs (qz - zz)       a quadruple per group and beta2 rows ("second level")
struct SpqrFormat {
  static constexpr std::int64_t kWholeRow = 0;
  static constexpr int kUnquantized = 16;

  int bits = 3;             // of a weight code, 2..8
  std::int64_t beta1 = 16;  // columns per first-level group: 8, 16, 32, 64, 128 or kWholeRow
  int beta2 = 16;           // rows per second-level group: 8, 16, 32, 64 (ignored if unquantized)
  int scale_bits = 3;       // of a scale code: 2..8, or kUnquantized: s and z themselves are stored as f16
  int zero_bits = 3;        // of a zero code: 2..8, or kUnquantized; unquantized exactly if scale_bits is

  bool quantized_statistics() const { return scale_bits != kUnquantized; }
  std::int64_t group_columns(std::int64_t n) const { return beta1 == kWholeRow ? n : beta1; }
  std::int64_t groups(std::int64_t n) const { return (n + group_columns(n) - 1) / group_columns(n); }
  // Second-level groups in a column of m rows.
  std::int64_t tiles(std::int64_t m) const { return (m + beta2 - 1) / beta2; }
  bool operator==(const SpqrFormat&) const = default;
};

// Throws std::invalid_argument with a sentence if a field is out of the ranges above.
void validate(const SpqrFormat& format);

// The paper's size: bits + (qs + qz) / beta1 + 64 / (beta1 beta2) + 32 outlier_share, in bits per weight
// (unquantized statistics: bits + 32 / beta1). n is needed for kWholeRow only.
double bits_per_weight(const SpqrFormat& format, std::int64_t n, double outlier_share);

// A quantized matrix in parts, one array each: what a quantizer produces and an importer fills.
// Column j of the parts is column perm[j] of W (identity if perm is empty).
struct SpqrParts {
  SpqrFormat format;
  std::int64_t m = 0;
  std::int64_t n = 0;
  std::vector<std::uint8_t> codes;         // (m, n)
  std::vector<std::uint8_t> scale_codes;   // (groups, m)   quantized statistics
  std::vector<std::uint8_t> zero_codes;    // (groups, m)
  std::vector<float> scale_scale;          // (groups, tiles)   ss
  std::vector<float> scale_zero;           // (groups, tiles)   sz
  std::vector<float> zero_scale;           // (groups, tiles)   zs
  std::vector<float> zero_zero;            // (groups, tiles)   zz
  std::vector<float> scales;               // (groups, m)   unquantized statistics
  std::vector<float> zeros;                // (groups, m)
  std::vector<std::uint32_t> row_offsets;  // (m + 1)   outliers, CSR; empty if there are none
  std::vector<std::uint16_t> columns;      // (nnz)     ascending within a row; n <= 65536 if any
  std::vector<float> values;               // (nnz)     added to the dense value
  std::vector<std::uint32_t> perm;         // (n) or empty
};

// W as the parts mean it, f32 (m, n) in the original column order.
std::vector<float> dequantize(const SpqrParts& parts);

}  // namespace spqr
