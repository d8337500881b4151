#include "kernels/linear.h"

namespace spqr {

std::int64_t Linear::m() const {
  if (const auto* packed = std::get_if<SpqrMatrix>(&weight)) return packed->m;
  return std::get<TensorView>(weight).shape.at(0);
}

std::int64_t Linear::n() const {
  if (const auto* packed = std::get_if<SpqrMatrix>(&weight)) return packed->n;
  return std::get<TensorView>(weight).shape.at(1);
}

std::size_t Linear::bytes() const {
  const auto weight_bytes = std::visit([](const auto& w) { return w.bytes(); }, weight);
  return weight_bytes + bias.size_bytes();
}

std::size_t LinearGroup::bytes() const {
  std::size_t total = 0;
  for (const Linear& member : members) total += member.bytes();
  return total;
}

}  // namespace spqr
