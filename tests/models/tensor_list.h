// A checkpoint of names and shapes, whose values tell where they were.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "models/checkpoint.h"

namespace spqr {

// Element i of a tensor is i.
class TensorList final : public Checkpoint {
 public:
  TensorList(std::string config, std::vector<CheckpointTensor> tensors)
      : config_(std::move(config)), tensors_(std::move(tensors)) {}
  const std::string& config_json() const override { return config_; }
  const TokenizerFiles& tokenizer_files() const override { return none_; }
  const std::vector<CheckpointTensor>& tensors() const override { return tensors_; }
  std::string format() const override { return "list"; }
  std::string where() const override { return "list"; }
  void read(std::string_view name, float* out) const override {
    const CheckpointTensor* tensor = find(name);
    if (tensor == nullptr) throw std::runtime_error("no tensor " + std::string(name));
    std::int64_t count = 1;
    for (const std::int64_t extent : tensor->shape) count *= extent;
    for (std::int64_t i = 0; i < count; ++i) out[i] = static_cast<float>(i);
  }

 private:
  std::string config_;
  std::vector<CheckpointTensor> tensors_;
  TokenizerFiles none_;
};

}  // namespace spqr
