#include "runtime/block_weights.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace spqr {

std::vector<float> read_tensor(const Checkpoint& checkpoint, const std::string& name,
                               const std::vector<std::int64_t>& shape) {
  checkpoint.require_shape(name, shape);
  std::vector<float> values = checkpoint.read(name);
  if (!std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); })) {
    throw std::runtime_error(
        fmt::format("{}: tensor {} holds values that are not finite", checkpoint.where(), name));
  }
  return values;
}

std::vector<float>& BlockWeights::tensor(const std::string& name, const std::vector<std::int64_t>& shape) {
  const auto known = tensors_.find(name);
  if (known != tensors_.end()) return known->second;
  return tensors_.emplace(name, read_tensor(checkpoint_, name, shape)).first->second;
}

std::span<float> BlockWeights::matrix(const std::string& module, std::int64_t m, std::int64_t n) {
  return tensor(module + ".weight", {m, n});
}

LinearGroup BlockWeights::linear_group(std::span<const std::string> modules, std::span<const std::int64_t> m,
                                       std::int64_t n) {
  LinearGroup group;
  for (std::size_t i = 0; i < modules.size(); ++i) {
    Linear linear{.weight = TensorView{matrix(modules[i], m[i], n).data(), DType::f32, {m[i], n}},
                  .bias = {}};
    const std::string bias = modules[i] + ".bias";
    if (checkpoint_.find(bias) != nullptr) linear.bias = vector(bias, m[i]);
    group.members.push_back(std::move(linear));
  }
  return group;
}

std::span<const float> BlockWeights::vector(const std::string& name, std::int64_t size) {
  return tensor(name, {size});
}

}  // namespace spqr
