// Round to nearest: every group's min-max fit, every weight its nearest code.
#include <algorithm>

#include "kernels/quantize/checks.h"
#include "kernels/quantize/group_statistics.h"
#include "kernels/quantize/quantize.h"
#include "kernels/quantize/row_tile.h"
#include "kernels/threads.h"

namespace spqr {

namespace {

void quantize_column(RowTile& tile, std::int64_t j, float largest) {
  const float* w = tile.column(j);
  const float* scale = tile.scale().data();
  const float* zero = tile.zero().data();
  std::uint8_t* codes = tile.codes(j);
  for (std::int64_t i = 0; i < tile.stride(); ++i) {
    codes[i] = static_cast<std::uint8_t>(static_cast<int>(weight_code(w[i], scale[i], zero[i], largest)));
  }
}

void quantize_tile(RowTile& tile, SpqrParts& parts) {
  const float largest = largest_code(parts.format.bits);
  const std::int64_t group_columns = parts.format.group_columns(parts.n);
  for (std::int64_t j = 0; j < parts.n; ++j) {
    if (j % group_columns == 0) {
      weight_range(tile.group(j, std::min(group_columns, parts.n - j)), tile.low(), tile.high());
      tile.fit(j / group_columns, false, parts);
    }
    quantize_column(tile, j, largest);
    const std::int64_t kept = j % RowTile::kCodeColumns + 1;
    if (kept == RowTile::kCodeColumns || j + 1 == parts.n) tile.store_codes(j + 1 - kept, kept, parts);
  }
}

}  // namespace

SpqrParts quantize_rtn(std::span<const float> w, std::int64_t m, std::int64_t n, const SpqrFormat& format) {
  validate(format);
  check_shape(w, m, n, "the weight matrix");
  check_finite(w, n, "the weight matrix");
  SpqrParts parts = empty_parts(format, m, n);
  const std::int64_t height = RowTile::height(format, m);
  parallel((m + height - 1) / height, [&](Indices& mine) {
    RowTile tile(height, n);
    while (mine.next()) {
      const std::int64_t first_row = mine.index() * height;
      tile.load(w, first_row, std::min(height, m - first_row), {});
      quantize_tile(tile, parts);
    }
  });
  return parts;
}

}  // namespace spqr
