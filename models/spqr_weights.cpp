// A .spqr file as the source of a model's weights, used in place.
#include <fmt/core.h>

#include <map>
#include <stdexcept>

#include "kernels/half.h"
#include "models/model.h"
#include "models/spqr_file.h"

namespace spqr {
namespace {

class SpqrWeights final : public WeightSource {
 public:
  explicit SpqrWeights(const SpqrFile& file)
      : file_(file), config_(parse_config(file.info().config_json, file.path().string() + ": config")) {
    // Running some of the blocks only would give nonsense.
    for (const LinearGroupSpec& group : block_linears(config_, config_.num_hidden_layers)) {
      for (const std::string& module : group.modules) {
        if (file_.find_module(module) != nullptr)
          fail(fmt::format("holds '{}', but its configuration has {} layers (num_hidden_layers)", module,
                           config_.num_hidden_layers));
      }
    }
  }

  LinearGroup linear_group(std::span<const std::string> modules, std::span<const std::int64_t> m,
                           std::int64_t n) override {
    LinearGroup group;
    const std::string* perm_name = nullptr;
    for (std::size_t i = 0; i < modules.size(); ++i) {
      const SpqrFileModule& module = find(modules[i]);
      if (module.linear.m() != m[i] || module.linear.n() != n) {
        fail(fmt::format("module '{}' is {} x {}, expected {} x {} from the configuration", modules[i],
                         module.linear.m(), module.linear.n(), m[i], n));
      }
      if (std::holds_alternative<SpqrMatrix>(module.linear.weight)) {
        if (perm_name != nullptr && *perm_name != module.perm_name) {
          fail(fmt::format("module '{}' has permutation '{}', but '{}' reads the same input with '{}'",
                           modules[i], module.perm_name, modules[0], *perm_name));
        }
        perm_name = &module.perm_name;
        group.perm = file_.perm(module.perm_name);
      }
      group.members.push_back(module.linear);
    }
    return group;
  }

  std::span<const float> vector(const std::string& name, std::int64_t size) override {
    const auto known = wide_.find(name);
    if (known != wide_.end()) return known->second;
    const auto tensor = file_.find_tensor(name);
    if (!tensor) fail(fmt::format("has no tensor '{}'", name));
    if (tensor->shape != std::vector<std::int64_t>{size}) {
      fail(fmt::format("tensor '{}' has {} elements, expected {}", name, tensor->elements(), size));
    }
    if (tensor->dtype == DType::f32)
      return {static_cast<const float*>(tensor->data), static_cast<std::size_t>(size)};
    std::vector<float>& values = wide_[name];
    values.resize(static_cast<std::size_t>(size));
    const auto* halves = static_cast<const std::uint16_t*>(tensor->data);
    if (tensor->dtype == DType::f16) {
      f16_to_f32(halves, values.data(), values.size());
    } else {
      bf16_to_f32(halves, values.data(), values.size());
    }
    return values;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw std::runtime_error(fmt::format("{}: {}", file_.path().string(), what));
  }

  // A model with tied embeddings has one matrix for both ends.
  const SpqrFileModule& find(const std::string& name) const {
    const SpqrFileModule* module = file_.find_module(name);
    if (module == nullptr && name == kHeadModule) module = tied_embedding();
    if (module == nullptr) fail(fmt::format("has no module '{}'", name));
    return *module;
  }
  const SpqrFileModule* tied_embedding() const {
    return config_.tie_word_embeddings ? file_.find_module(embedding_module(config_)) : nullptr;
  }

  const SpqrFile& file_;
  ModelConfig config_;
  std::map<std::string, std::vector<float>, std::less<>> wide_;
};

}  // namespace

std::unique_ptr<WeightSource> make_weight_source(const SpqrFile& file) {
  return std::make_unique<SpqrWeights>(file);
}

}  // namespace spqr
