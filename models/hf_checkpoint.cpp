#include "models/hf_checkpoint.h"

#include <fmt/format.h>

#include <array>
#include <map>
#include <set>
#include <stdexcept>

#include "models/fused_qkv.h"
#include "models/model.h"
#include "models/shard_index.h"
#include "models/tied_tensors.h"
#include "models/tokenizer_files.h"
#include "models/weight_file.h"

namespace spqr {
namespace {

namespace fs = std::filesystem;

// Where the weights are: in one file, or in shards that an index lists.
struct Layout {
  const char* file;
  const char* index;
  const char* extension;
  const char* format;
  std::vector<WeightTensor> (*read)(const fs::path& path);
};
// The preferred first.
constexpr std::array kLayouts{
    Layout{"model.safetensors", "model.safetensors.index.json", ".safetensors", "safetensors",
           safetensors_weights},
    Layout{"pytorch_model.bin", "pytorch_model.bin.index.json", ".bin", "PyTorch", torch_weights}};

// Tables that old conversions stored, which follow from the configuration (inv_freq, position_ids, masks):
// models read weights and biases.
bool is_ignored(const WeightTensor& tensor) {
  const std::string_view name = tensor.name;
  const bool may_be_read = name.ends_with(".weight") || name.ends_with(".bias");
  return name.ends_with(".rotary_emb.inv_freq") || (!is_widenable(tensor) && !may_be_read);
}

class HfCheckpoint final : public Checkpoint {
 public:
  HfCheckpoint(const fs::path& directory, const CheckpointOptions& options)
      : directory_(directory), config_json_(read_small_file(directory / "config.json")) {
    const ModelConfig config = parse_config(config_json_, (directory / "config.json").string());
    tokenizer_files_ = chosen_tokenizer_files(tokenizer_files_in(directory), options);
    layout_ = layout_in(directory);
    if (fs::exists(directory / layout_.file)) {
      add_file(directory / layout_.file, {});
    } else {
      const auto shards = read_shard_index(directory / layout_.index, layout_.extension);
      for (const auto& [shard, names] : shards) add_file(directory / shard, names);
    }
    if (config.tie_word_embeddings)
      tie_names(stored_, tensors_, embedding_module(config) + ".weight",
                std::string(kHeadModule) + ".weight");
  }

  const std::string& config_json() const override { return config_json_; }
  const TokenizerFiles& tokenizer_files() const override { return tokenizer_files_; }
  const std::vector<CheckpointTensor>& tensors() const override { return tensors_; }
  std::string format() const override { return layout_.format; }
  std::string where() const override { return directory_.string(); }

  void read(std::string_view name, float* out) const override {
    const auto it = stored_.find(name);
    if (it == stored_.end()) throw std::runtime_error(fmt::format("{}: has no tensor {}", where(), name));
    it->second.read(out);
  }

 private:
  static Layout layout_in(const fs::path& directory) {
    for (const Layout& layout : kLayouts) {
      if (fs::exists(directory / layout.file) || fs::exists(directory / layout.index)) return layout;
    }
    throw std::runtime_error(
        fmt::format("{}: has neither {} nor {}, nor an index of shards: incomplete download?",
                    directory.string(), kLayouts[0].file, kLayouts[1].file));
  }

  // wanted: the tensors to take from the file, each of which has to be there; empty: all that are there.
  void add_file(const fs::path& path, const std::set<std::string>& wanted) {
    std::set<std::string> missing = wanted;
    for (WeightTensor& tensor : layout_.read(path)) {
      missing.erase(tensor.name);
      if (is_ignored(tensor) || (!wanted.empty() && !wanted.contains(tensor.name))) continue;
      require_widenable(tensor, path.string());
      tensors_.push_back({tensor.name, tensor.shape, tensor.dtype});
      stored_[tensor.name] = std::move(tensor);
    }
    if (missing.empty()) return;
    throw std::runtime_error(fmt::format("{}: has no tensor {}, though {} says so: incomplete download?",
                                         path.string(), *missing.begin(), layout_.index));
  }

  fs::path directory_;
  std::string config_json_;
  TokenizerFiles tokenizer_files_;
  Layout layout_ = kLayouts[0];
  std::vector<CheckpointTensor> tensors_;
  std::map<std::string, WeightTensor, std::less<>> stored_;
};

}  // namespace

std::unique_ptr<Checkpoint> open_hf_checkpoint(const fs::path& directory, const CheckpointOptions& options) {
  if (!fs::exists(directory / "config.json")) {
    throw std::runtime_error(
        fmt::format("{}: has no config.json: not a Hugging Face checkpoint", directory.string()));
  }
  return with_split_qkv(std::make_unique<HfCheckpoint>(directory, options), QkvOrder::by_kv_head);
}

}  // namespace spqr
