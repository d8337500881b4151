#include "models/fused_qkv.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <stdexcept>
#include <utility>

namespace spqr {
namespace {

constexpr std::string_view kFused = "query_key_value";
constexpr std::array<std::string_view, 3> kParts = {"q_proj", "k_proj", "v_proj"};

// Heads of the parts.
std::array<std::int64_t, 3> heads_of(const ModelConfig& config) {
  return {config.num_attention_heads, config.num_key_value_heads, config.num_key_value_heads};
}

// Where a head of part `kind` is among the heads of the fused matrix.
std::int64_t place(const std::array<std::int64_t, 3>& heads, QkvOrder order, std::size_t kind,
                   std::int64_t head) {
  if (order == QkvOrder::by_kind) return (kind > 0 ? heads[0] : 0) + (kind > 1 ? heads[1] : 0) + head;
  const std::int64_t sharing = heads[0] / heads[1];
  if (kind == 0) return head / sharing * (sharing + 2) + head % sharing;
  return head * (sharing + 2) + sharing + static_cast<std::int64_t>(kind) - 1;
}

class SplitQkv final : public Checkpoint {
 public:
  SplitQkv(std::unique_ptr<Checkpoint> fused, const ModelConfig& config, QkvOrder order)
      : fused_(std::move(fused)), config_(config), order_(order) {
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
  std::string where() const override { return fused_->where(); }

  void read(std::string_view name, float* out) const override {
    const std::optional<QkvPart> part = qkv_part(config_, order_, name);
    if (!part) return fused_->read(name, out);
    const std::vector<float> values = fused_->Checkpoint::read(part->fused);
    const std::int64_t head_size = static_cast<std::int64_t>(values.size()) / part->fused_heads;
    for (const std::int64_t head : part->heads) {
      std::copy_n(values.data() + head * head_size, head_size, out);
      out += head_size;
    }
  }

 private:
  void add_parts(const CheckpointTensor& tensor) {
    const std::array<std::int64_t, 3> heads = heads_of(config_);
    const std::int64_t rows = (heads[0] + heads[1] + heads[2]) * config_.head_dim;
    if (tensor.shape.empty() || tensor.shape.front() != rows) {
      throw std::runtime_error(
          fmt::format("{}: tensor {} has {} rows, expected {} from the configuration: {} query, {} key and "
                      "{} value heads "
                      "of {}",
                      where(), tensor.name, tensor.shape.empty() ? 0 : tensor.shape.front(), rows, heads[0],
                      heads[1], heads[2], config_.head_dim));
    }
    for (std::size_t kind = 0; kind < kParts.size(); ++kind) {
      CheckpointTensor part = tensor;
      part.name.replace(tensor.name.find(kFused), kFused.size(), kParts[kind]);
      part.shape.front() = heads[kind] * config_.head_dim;
      tensors_.push_back(std::move(part));
    }
  }

  std::unique_ptr<Checkpoint> fused_;
  ModelConfig config_;
  QkvOrder order_;
  std::vector<CheckpointTensor> tensors_;
};

}  // namespace

std::optional<QkvPart> qkv_part(const ModelConfig& config, QkvOrder order, std::string_view name) {
  if (config.model_type != "falcon") return std::nullopt;
  const std::array<std::int64_t, 3> heads = heads_of(config);
  for (std::size_t kind = 0; kind < kParts.size(); ++kind) {
    const std::size_t begin = name.find(kParts[kind]);
    if (begin == std::string_view::npos) continue;
    QkvPart part{std::string(name), heads[0] + heads[1] + heads[2], {}};
    part.fused.replace(begin, kParts[kind].size(), kFused);
    for (std::int64_t head = 0; head < heads[kind]; ++head)
      part.heads.push_back(place(heads, order, kind, head));
    return part;
  }
  return std::nullopt;
}

std::unique_ptr<Checkpoint> with_split_qkv(std::unique_ptr<Checkpoint> checkpoint, QkvOrder order) {
  const ModelConfig config = parse_config(checkpoint->config_json(), "configuration");
  if (config.model_type != "falcon") return checkpoint;
  return std::make_unique<SplitQkv>(std::move(checkpoint), config, order);
}

}  // namespace spqr
