#include "models/hf_checkpoint.h"

#include <fmt/format.h>

#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>

#include "models/fused_qkv.h"
#include "models/json.h"
#include "models/model.h"
#include "models/safetensors.h"
#include "models/stored_types.h"
#include "models/tokenizer_files.h"

namespace spqr {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSingleFile = "model.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";

// Old conversions stored this table, which follows from the configuration.
bool is_ignored(std::string_view name) {
  return name.ends_with(".rotary_emb.inv_freq");
}

class HfCheckpoint final : public Checkpoint {
 public:
  HfCheckpoint(const fs::path& directory, const CheckpointOptions& options)
      : config_json_(read_small_file(directory / "config.json")) {
    const ModelConfig config = parse_config(config_json_, (directory / "config.json").string());
    tokenizer_files_ = chosen_tokenizer_files(tokenizer_files_in(directory), options);
    if (fs::exists(directory / kSingleFile)) {
      add_file(directory / kSingleFile, {});
    } else if (fs::exists(directory / kIndexFile)) {
      add_shards(directory);
    } else {
      refuse_without_weights(directory);
    }
    if (config.tie_word_embeddings)
      tie(embedding_module(config) + ".weight", std::string(kHeadModule) + ".weight");
  }

  const std::string& config_json() const override { return config_json_; }
  const TokenizerFiles& tokenizer_files() const override { return tokenizer_files_; }
  const std::vector<CheckpointTensor>& tensors() const override { return tensors_; }
  std::string format() const override { return "safetensors"; }

  void read(std::string_view name, float* out) const override {
    const auto it = stored_.find(name);
    if (it == stored_.end()) throw std::runtime_error(fmt::format("the checkpoint has no tensor {}", name));
    widen(*it->second.type, it->second.data, out);
  }

 private:
  struct Stored {
    const StoredType* type;
    std::span<const std::byte> data;
  };

  // wanted: the tensors to take from the file, each of which has to be there; empty: all that are there.
  void add_file(const fs::path& path, const std::set<std::string>& wanted) {
    files_.push_back(SafetensorsFile::open(path));
    const SafetensorsFile& file = files_.back();
    for (const std::string& name : wanted) {
      if (file.find(name) == nullptr) {
        throw std::runtime_error(fmt::format("{}: has no tensor {}, though {} says so: incomplete download?",
                                             path.string(), name, kIndexFile));
      }
    }
    for (const SafetensorsTensor& tensor : file.tensors()) {
      if (is_ignored(tensor.name) || (!wanted.empty() && !wanted.contains(tensor.name))) continue;
      const bool known = tensor.dtype == "F32" || tensor.dtype == "F16" || tensor.dtype == "BF16";
      if (!known) {
        throw std::runtime_error(
            fmt::format("{}: tensor {} is stored as {}, which is not supported; supported: F32, F16, BF16",
                        path.string(), tensor.name, tensor.dtype));
      }
      stored_[tensor.name] = {find_stored_type(tensor.dtype), tensor.data};
      tensors_.push_back({tensor.name, tensor.shape, tensor.dtype});
    }
  }

  void add_shards(const fs::path& directory) {
    const std::string where = (directory / kIndexFile).string();
    const nlohmann::json index = parse_json_strict(read_small_file(directory / kIndexFile), where);
    if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object()) {
      throw std::runtime_error(fmt::format("{}: expected an object with a weight_map", where));
    }
    std::map<std::string, std::set<std::string>> shards;
    for (const auto& [tensor, shard] : index["weight_map"].items()) {
      if (!shard.is_string())
        throw std::runtime_error(fmt::format("{}: the shard of {} is no string", where, tensor));
      shards[shard.get<std::string>()].insert(tensor);
    }
    for (const auto& [shard, names] : shards) {
      const bool plain = fs::path(shard).filename() == shard && shard.find('\\') == std::string::npos &&
                         shard.find('\0') == std::string::npos && shard.ends_with(".safetensors");
      if (!plain) {
        throw std::runtime_error(
            fmt::format("{}: shard {} is not the name of a .safetensors file in this directory", where,
                        nlohmann::json(shard).dump()));
      }
      if (!fs::exists(directory / shard)) {
        throw std::runtime_error(fmt::format("{}: shard {} is missing: incomplete download?", where, shard));
      }
      add_file(directory / shard, names);
    }
  }

  // Presents a tensor that two modules share under both names, whichever is stored.
  void tie(const std::string& one, const std::string& other) {
    if (stored_.contains(one) == stored_.contains(other)) return;
    const bool has_one = stored_.contains(one);
    CheckpointTensor copy = *find(has_one ? one : other);
    copy.name = has_one ? other : one;
    stored_[copy.name] = stored_.find(has_one ? one : other)->second;
    tensors_.push_back(std::move(copy));
  }

  [[noreturn]] static void refuse_without_weights(const fs::path& directory) {
    for (const char* pickled : {"pytorch_model.bin", "pytorch_model.bin.index.json", "consolidated.00.pth"}) {
      if (fs::exists(directory / pickled)) {
        throw std::runtime_error(
            fmt::format("{}: has its weights only as {}, which is not supported: save them as safetensors "
                        "(save_pretrained with safe_serialization=True)",
                        directory.string(), pickled));
      }
    }
    throw std::runtime_error(fmt::format("{}: has neither {} nor {}: incomplete download?",
                                         directory.string(), kSingleFile, kIndexFile));
  }

  std::string config_json_;
  TokenizerFiles tokenizer_files_;
  std::vector<SafetensorsFile> files_;
  std::vector<CheckpointTensor> tensors_;
  std::map<std::string, Stored, std::less<>> stored_;
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
