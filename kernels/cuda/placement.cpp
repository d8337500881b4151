#include "kernels/cuda/placement.h"

#include "kernels/cuda/spqr_device_layout.h"

namespace spqr::cuda {
namespace {

template <typename T>
std::span<const T> place_span(WeightStore& store, std::span<const T> values) {
  if (values.empty()) return {};
  std::byte* taken = store.take(values.size_bytes());
  store.fill(taken, values.data(), values.size_bytes());
  return {reinterpret_cast<const T*>(taken), values.size()};
}

SpqrMatrix place_packed(WeightStore& store, const SpqrMatrix& matrix) {
  const std::size_t bytes = SpqrDeviceLayout(matrix.format, matrix.m, matrix.n).bytes();
  std::byte* taken = store.take(bytes);
  store.fill_packed(taken, matrix);
  SpqrMatrix placed = matrix;
  placed.dense = {taken, bytes};
  placed.row_offsets = place_span(store, matrix.row_offsets);
  placed.col_vals = place_span(store, matrix.col_vals);
  return placed;
}

TensorView place_dense(WeightStore& store, const TensorView& tensor) {
  TensorView placed = tensor;
  std::byte* taken = store.take(tensor.bytes());
  store.fill(taken, tensor.data, tensor.bytes());
  placed.data = taken;
  return placed;
}

}  // namespace

Linear place(WeightStore& store, const Linear& weight) {
  Linear placed;
  if (const auto* packed = std::get_if<SpqrMatrix>(&weight.weight)) {
    placed.weight = place_packed(store, *packed);
  } else {
    placed.weight = place_dense(store, std::get<TensorView>(weight.weight));
  }
  placed.bias = place_span(store, weight.bias);
  return placed;
}

Norm place(WeightStore& store, const Norm& norm) {
  return {place_span(store, norm.weight), norm.eps, place_span(store, norm.bias)};
}

LinearGroup place(WeightStore& store, const LinearGroup& group) {
  LinearGroup placed;
  for (const Linear& member : group.members) placed.members.push_back(place(store, member));
  placed.perm = place_span(store, group.perm);
  return placed;
}

Rope place(WeightStore& store, const Rope& rope) {
  return {place_span(store, rope.inverse_frequency)};
}

}  // namespace spqr::cuda
