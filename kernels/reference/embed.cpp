// x[t] = table[ids[t]].   table (vocab, hidden) dense or packed, x (tokens, hidden).
#include "kernels/reference/operations.h"

namespace spqr::reference {

void embed(Matrix x, const Linear& table, std::span<const std::int32_t> ids) {
  for (std::size_t t = 0; t < ids.size(); ++t) {
    weight_row(table, ids[t], x.data + static_cast<std::int64_t>(t) * x.cols);
  }
}

}  // namespace spqr::reference
