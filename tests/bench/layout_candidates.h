// Candidate layouts of a packed matrix for layout_bench, beside the one in use: 16 x 16 groups, 3 or 4 bits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "kernels/spqr_format.h"

namespace spqr {

struct Candidate {
  std::string name;
  std::vector<std::byte> packed;
  double tolerance;  // |y - reference| / |reference|
  // y = W x on a copy of `packed` that lies somewhere else.
  std::function<void(const std::byte* packed, const float* x, float* y)> matvec;
};

// In use: strips of 64 rows, rows are vector lanes; the kernels of spqr_matmul for AVX2.
Candidate row_lanes_f32(const SpqrParts& parts);
Candidate row_lanes_int16(const SpqrParts& parts);

// Strips of 64 rows cut into chunks of 256 columns, statistics as in use; then row by row 256 codes as bit
// planes, columns are vector lanes.
Candidate column_lanes_f32(const SpqrParts& parts);
Candidate column_lanes_int8(const SpqrParts& parts);

// A 64-bit word per row of a 16 x 16 tile: codes of 3 bits, both statistic codes, a share of the tile's
// second-level statistics; as in the format of the method's own CUDA kernel. 4 bits per weight where 3.625
// carry information.
Candidate tile_words_f32(const SpqrParts& parts);

// x as 8-bit integers, a scale per group of 16 columns, and the sums that zero points need.
struct Int8Input {
  std::vector<std::int8_t> codes;  // (n)
  std::vector<float> scales;       // (n / 16)
  std::vector<float> sums;         // (n / 16)  of the decoded values

  Int8Input(const float* x, std::int64_t n);
};

std::vector<float> group_sums(const float* x, std::int64_t n);

}  // namespace spqr
