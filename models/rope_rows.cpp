#include "models/rope_rows.h"

#include <algorithm>
#include <vector>

namespace spqr {

void interleaved_to_half_split(float* w, std::int64_t rows, std::int64_t cols, std::int64_t head_dim) {
  const std::int64_t half = head_dim / 2;
  std::vector<float> head(static_cast<std::size_t>(head_dim * cols));
  for (std::int64_t first = 0; first + head_dim <= rows; first += head_dim) {
    float* block = w + first * cols;
    std::copy_n(block, head.size(), head.begin());
    for (std::int64_t i = 0; i < half; ++i) {
      std::copy_n(head.data() + 2 * i * cols, cols, block + i * cols);
      std::copy_n(head.data() + (2 * i + 1) * cols, cols, block + (i + half) * cols);
    }
  }
}

}  // namespace spqr
