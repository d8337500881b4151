// What the readers of SpQR checkpoints share: outliers in any order, permutations, checks of what they made.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/spqr_format.h"

namespace spqr {

struct SavedOutlier {
  std::int64_t row;
  std::int64_t column;  // stored order
  float value;
};

// Sets row_offsets, columns and values of parts (m, n). Throws std::runtime_error naming `where` for places
// that are outside of the matrix or taken twice, and for values that are not finite.
void set_outliers(SpqrParts& parts, std::vector<SavedOutlier> outliers, const std::string& where);

// Sets perm of parts, which stays empty for the identity. Throws where it is no permutation of n columns.
void set_permutation(SpqrParts& parts, std::vector<std::uint32_t> perm, const std::string& where);

// The rows blocks[0] * rows .. blocks[0] * rows + rows - 1, blocks[1] * rows .. and so on of `parts`, a
// matrix of its own with the same order of columns. Throws where rows that share second-level statistics
// would be parted.
SpqrParts select_rows(const SpqrParts& parts, const std::vector<std::int64_t>& blocks, std::int64_t rows,
                      const std::string& where);

// Throws where codes have more bits than the format, or statistics are not finite.
void check_saved_parts(const SpqrParts& parts, const std::string& where);

}  // namespace spqr
