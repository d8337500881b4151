#include "models/checkpoint_weights.h"

#include <fmt/format.h>

#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/half.h"

namespace spqr {
namespace {

class CheckpointWeights final : public WeightSource {
 public:
  CheckpointWeights(const Checkpoint& checkpoint, DType dtype) : checkpoint_(checkpoint), dtype_(dtype) {
    if (dtype != DType::f32 && dtype != DType::f16 && dtype != DType::bf16) {
      throw std::invalid_argument(
          fmt::format("weights cannot be kept as {}, expected f32, f16 or bf16", name_of(dtype)));
    }
  }

  LinearGroup linear_group(std::span<const std::string> modules, std::span<const std::int64_t> m,
                           std::int64_t n) override {
    LinearGroup group;
    for (std::size_t i = 0; i < modules.size(); ++i) {
      Linear linear{.weight = matrix(modules[i] + ".weight", m[i], n), .bias = {}};
      const std::string bias = modules[i] + ".bias";
      if (checkpoint_.find(bias) != nullptr) linear.bias = vector(bias, m[i]);
      group.members.push_back(std::move(linear));
    }
    return group;
  }

  std::span<const float> vector(const std::string& name, std::int64_t size) override {
    return read(name, {size});
  }

 private:
  // Values of a tensor of this shape, kept.
  const std::vector<float>& read(const std::string& name, const std::vector<std::int64_t>& shape) {
    const auto kept = wide_.find(name);
    if (kept != wide_.end()) return kept->second;
    checkpoint_.require_shape(name, shape);
    return wide_.emplace(name, checkpoint_.read(name)).first->second;
  }

  TensorView matrix(const std::string& name, std::int64_t m, std::int64_t n) {
    if (dtype_ == DType::f32) return {read(name, {m, n}).data(), DType::f32, {m, n}};
    std::vector<std::uint16_t>& narrow = narrow_[name];
    if (narrow.empty()) {
      checkpoint_.require_shape(name, {m, n});
      const std::vector<float> values = checkpoint_.read(name);
      narrow.resize(values.size());
      const auto convert =
          dtype_ == DType::f16
              ? static_cast<void (*)(const float*, std::uint16_t*, std::size_t)>(f32_to_f16)
              : static_cast<void (*)(const float*, std::uint16_t*, std::size_t)>(f32_to_bf16);
      convert(values.data(), narrow.data(), values.size());
    }
    return {narrow.data(), dtype_, {m, n}};
  }

  const Checkpoint& checkpoint_;
  DType dtype_;
  std::map<std::string, std::vector<float>, std::less<>> wide_;
  std::map<std::string, std::vector<std::uint16_t>, std::less<>> narrow_;
};

}  // namespace

std::unique_ptr<WeightSource> make_weight_source(const Checkpoint& checkpoint, DType dtype) {
  return std::make_unique<CheckpointWeights>(checkpoint, dtype);
}

}  // namespace spqr
