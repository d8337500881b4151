#include "models/fused_qkv.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <stdexcept>
#include <utility>

#include "models/config.h"

namespace spqr {
namespace {

constexpr std::string_view kFused = ".query_key_value.";
constexpr std::array<std::string_view, 3> kParts = {"q_proj", "k_proj", "v_proj"};

class SplitQkv final : public Checkpoint {
 public:
  SplitQkv(std::unique_ptr<Checkpoint> fused, const ModelConfig& config, QkvOrder order)
      : fused_(std::move(fused)), order_(order), head_dim_(config.head_dim) {
    heads_ = {config.num_attention_heads, config.num_key_value_heads, config.num_key_value_heads};
    for (const CheckpointTensor& tensor : fused_->tensors()) {
      if (tensor.name.find(kFused) == std::string::npos) {
        tensors_.push_back(tensor);
      } else {
        add_parts(tensor);
      }
    }
  }

  const std::string& config_json() const override { return fused_->config_json(); }
  const TokenizerFiles& tokenizer_files() const override { return fused_->tokenizer_files(); }
  const std::vector<CheckpointTensor>& tensors() const override { return tensors_; }
  std::string format() const override { return fused_->format(); }

  void read(std::string_view name, float* out) const override {
    const auto part = parts_.find(name);
    if (part == parts_.end()) return fused_->read(name, out);
    const auto& [fused, kind] = part->second;
    const std::vector<float> values = fused_->Checkpoint::read(fused);
    const std::int64_t head_size = static_cast<std::int64_t>(values.size()) / all_heads();
    for (std::int64_t head = 0; head < heads_[kind]; ++head) {
      std::copy_n(values.data() + place(kind, head) * head_size, head_size, out + head * head_size);
    }
  }

 private:
  std::int64_t all_heads() const { return heads_[0] + heads_[1] + heads_[2]; }

  // Where a head of q_proj (kind 0), k_proj (1) or v_proj (2) is among the heads of the fused matrix.
  std::int64_t place(std::size_t kind, std::int64_t head) const {
    if (order_ == QkvOrder::by_kind) {
      return (kind > 0 ? heads_[0] : 0) + (kind > 1 ? heads_[1] : 0) + head;
    }
    const std::int64_t sharing = heads_[0] / heads_[1];
    if (kind == 0) return head / sharing * (sharing + 2) + head % sharing;
    return head * (sharing + 2) + sharing + static_cast<std::int64_t>(kind) - 1;
  }

  void add_parts(const CheckpointTensor& tensor) {
    if (tensor.shape.empty() || tensor.shape.front() != all_heads() * head_dim_) {
      throw std::runtime_error(fmt::format(
          "tensor {} has {} rows, expected {} from the configuration: {} query, {} key and {} value heads of "
          "{}",
          tensor.name, tensor.shape.empty() ? 0 : tensor.shape.front(), all_heads() * head_dim_, heads_[0],
          heads_[1], heads_[2], head_dim_));
    }
    const std::size_t begin = tensor.name.find(kFused) + 1;
    for (std::size_t kind = 0; kind < kParts.size(); ++kind) {
      CheckpointTensor part = tensor;
      part.name.replace(begin, kFused.size() - 2, kParts[kind]);
      part.shape.front() = heads_[kind] * head_dim_;
      parts_[part.name] = {tensor.name, kind};
      tensors_.push_back(std::move(part));
    }
  }

  std::unique_ptr<Checkpoint> fused_;
  QkvOrder order_;
  std::int64_t head_dim_;
  std::array<std::int64_t, 3> heads_{};  // of q_proj, k_proj, v_proj
  std::vector<CheckpointTensor> tensors_;
  std::map<std::string, std::pair<std::string, std::size_t>, std::less<>> parts_;
};

}  // namespace

std::unique_ptr<Checkpoint> with_split_qkv(std::unique_ptr<Checkpoint> checkpoint, QkvOrder order) {
  const ModelConfig config = parse_config(checkpoint->config_json(), "configuration");
  if (config.model_type != "falcon") return checkpoint;
  return std::make_unique<SplitQkv>(std::move(checkpoint), config, order);
}

}  // namespace spqr
