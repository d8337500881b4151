#include "models/meta_checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "models/config.h"
#include "models/json.h"
#include "models/rope_rows.h"
#include "models/stored_types.h"
#include "models/tokenizer_files.h"

namespace spqr {
namespace {

namespace fs = std::filesystem;

enum class Split { none, rows, columns, embedding };

struct Name {
  std::string_view meta;
  std::string_view hugging_face;
  Split split;
};
constexpr std::array kOutside{Name{"tok_embeddings", "model.embed_tokens", Split::embedding},
                              Name{"norm", "model.norm", Split::none},
                              Name{"output", "lm_head", Split::rows}};
constexpr std::array kInLayer{Name{"attention.wq", "self_attn.q_proj", Split::rows},
                              Name{"attention.wk", "self_attn.k_proj", Split::rows},
                              Name{"attention.wv", "self_attn.v_proj", Split::rows},
                              Name{"attention.wo", "self_attn.o_proj", Split::columns},
                              Name{"feed_forward.w1", "mlp.gate_proj", Split::rows},
                              Name{"feed_forward.w2", "mlp.down_proj", Split::columns},
                              Name{"feed_forward.w3", "mlp.up_proj", Split::rows},
                              Name{"attention_norm", "input_layernorm", Split::none},
                              Name{"ffn_norm", "post_attention_layernorm", Split::none}};

// A tensor of the whole model: its parts, shard by shard.
struct Joined {
  Split split = Split::none;
  std::vector<WeightTensor> parts;
  bool rotated = false;  // rows in neighbouring pairs
};

template <std::size_t N>
const Name* lookup(const std::array<Name, N>& names, std::string_view meta) {
  const auto found = std::ranges::find(names, meta, &Name::meta);
  return found == names.end() ? nullptr : &*found;
}

// layers.7.attention.wq.weight -> model.layers.7.self_attn.q_proj.weight; empty where there is no
// counterpart.
std::string hugging_face_name(std::string_view name, Split& split) {
  constexpr std::string_view kWeight = ".weight";
  constexpr std::string_view kLayers = "layers.";
  if (!name.ends_with(kWeight)) return {};
  name.remove_suffix(kWeight.size());
  if (const Name* outside = lookup(kOutside, name); outside != nullptr) {
    split = outside->split;
    return fmt::format("{}.weight", outside->hugging_face);
  }
  if (!name.starts_with(kLayers)) return {};
  name.remove_prefix(kLayers.size());
  std::uint32_t layer = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), layer);
  const auto digits = static_cast<std::size_t>(end - name.data());
  if (error != std::errc{} || digits >= name.size() || name[digits] != '.') return {};
  const Name* inside = lookup(kInLayer, name.substr(digits + 1));
  if (inside == nullptr) return {};
  split = inside->split;
  return fmt::format("model.layers.{}.{}.weight", layer, inside->hugging_face);
}

std::vector<fs::path> shards_in(const fs::path& directory) {
  std::vector<fs::path> shards;
  for (fs::path next = directory / "consolidated.00.pth"; fs::exists(next);
       next = directory / fmt::format("consolidated.{:02}.pth", shards.size())) {
    shards.push_back(next);
  }
  return shards;
}

class MetaCheckpoint final : public Checkpoint {
 public:
  MetaCheckpoint(const fs::path& directory, const CheckpointOptions& options) : where_(directory.string()) {
    const fs::path params = directory / "params.json";
    const std::string params_json = read_small_file(params);
    const std::vector<fs::path> shards = shards_in(directory);
    for (const fs::path& shard : shards) add_shard(shard);
    require_all_shards(shards.size());
    for (auto& [name, joined] : stored_) {
      if (joined.parts.size() != shards.size())
        fail(fmt::format("only {} of {} shards have tensor {}: incomplete download?", joined.parts.size(),
                         shards.size(), name));
      settle_embedding(joined);
      tensors_.push_back({name, joined_shape(joined, name), joined.parts.front().dtype});
    }
    config_json_ = meta_config_json(params_json, rows_of("model.layers.0.mlp.gate_proj.weight"),
                                    rows_of("model.embed_tokens.weight"), params.string());
    check_heads(parse_config(config_json_, params.string()));
    tokenizer_files_ = chosen_tokenizer_files(own_tokenizer(directory, options), options);
  }

  const std::string& config_json() const override { return config_json_; }
  const TokenizerFiles& tokenizer_files() const override { return tokenizer_files_; }
  const std::vector<CheckpointTensor>& tensors() const override { return tensors_; }
  std::string format() const override { return "Meta"; }
  std::string where() const override { return where_; }

  void read(std::string_view name, float* out) const override {
    const auto it = stored_.find(name);
    if (it == stored_.end()) fail(fmt::format("has no tensor {}", name));
    const Joined& joined = it->second;
    const std::vector<std::int64_t>& shape = find(name)->shape;
    if (joined.split == Split::none) {
      joined.parts.front().read(out);
    } else if (joined.split == Split::rows) {
      for (const WeightTensor& part : joined.parts) {
        part.read(out);
        out += element_count(part.shape);
      }
      out -= element_count(shape);
    } else {
      read_columns(joined, shape, out);
    }
    if (joined.rotated) interleaved_to_half_split(out, shape[0], shape[1], head_dim_);
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw std::runtime_error(fmt::format("{}: {}", where_, what));
  }

  void add_shard(const fs::path& path) {
    for (WeightTensor& tensor : torch_weights(path)) {
      if (tensor.name == "rope.freqs") continue;  // follows from the configuration
      Split split = Split::none;
      const std::string name = hugging_face_name(tensor.name, split);
      if (name.empty())
        fail(fmt::format("tensor {} is not part of Meta's text models, LLaMA 1 to 3", tensor.name));
      require_widenable(tensor, path.string());
      if (tensor.shape.size() != (split == Split::none ? 1U : 2U))
        fail(fmt::format("tensor {} has {} dimensions", tensor.name, tensor.shape.size()));
      Joined& joined = stored_[name];
      joined.split = split;
      joined.rotated = name.ends_with(".q_proj.weight") || name.ends_with(".k_proj.weight");
      joined.parts.push_back(std::move(tensor));
    }
  }

  // The queries' matrix is square; each shard has as many of its rows.
  void require_all_shards(std::size_t found) const {
    const auto queries = stored_.find("model.layers.0.self_attn.q_proj.weight");
    if (queries == stored_.end()) return;
    const std::vector<std::int64_t>& shape = queries->second.parts.front().shape;
    const std::int64_t expected = shape[0] > 0 ? shape[1] / shape[0] : 0;
    if (static_cast<std::int64_t>(found) < expected)
      fail(fmt::format(
          "consolidated.{:02}.pth is missing: the model is split into {} files; incomplete download?", found,
          expected));
  }

  // Split where its rows are shorter than the model's width, which the norms have.
  void settle_embedding(Joined& joined) const {
    if (joined.split != Split::embedding) return;
    const auto norm = stored_.find("model.norm.weight");
    if (norm == stored_.end()) fail("has no tensor norm.weight");
    const bool whole_rows = joined.parts.front().shape[1] == norm->second.parts.front().shape[0];
    joined.split = whole_rows ? Split::rows : Split::columns;
  }

  std::vector<std::int64_t> joined_shape(const Joined& joined, const std::string& name) const {
    std::vector<std::int64_t> shape = joined.parts.front().shape;
    if (joined.split == Split::none) return shape;
    const std::size_t along = joined.split == Split::rows ? 0 : 1;
    shape[along] = 0;
    for (const WeightTensor& part : joined.parts) {
      if (part.shape[1 - along] != shape[1 - along])
        fail(fmt::format("the parts of tensor {} in its shards do not fit together", name));
      shape[along] += part.shape[along];
    }
    if (element_count(shape) < 0) fail(fmt::format("tensor {} is too large", name));
    return shape;
  }

  static void read_columns(const Joined& joined, const std::vector<std::int64_t>& shape, float* out) {
    std::int64_t first = 0;
    for (const WeightTensor& part : joined.parts) {
      const std::int64_t columns = part.shape[1];
      std::vector<float> values(static_cast<std::size_t>(element_count(part.shape)));
      part.read(values.data());
      for (std::int64_t row = 0; row < shape[0]; ++row)
        std::copy_n(values.data() + row * columns, columns, out + row * shape[1] + first);
      first += columns;
    }
  }

  std::int64_t rows_of(const char* name) const {
    const CheckpointTensor* tensor = find(name);
    if (tensor == nullptr) fail(fmt::format("has no tensor that stands for {}", name));
    return tensor->shape[0];
  }

  void check_heads(const ModelConfig& config) {
    head_dim_ = config.head_dim;
    for (const auto& [name, joined] : stored_) {
      if (joined.rotated && find(name)->shape[0] % head_dim_ != 0)
        fail(fmt::format("tensor {} has {} rows, no multiple of the {} of a head", name, find(name)->shape[0],
                         head_dim_));
    }
  }

  TokenizerFiles own_tokenizer(const fs::path& directory, const CheckpointOptions& options) const {
    if (!options.tokenizer.empty()) return {};
    for (const fs::path& file : {directory / "tokenizer.model", directory / ".." / "tokenizer.model"}) {
      if (!fs::exists(file)) continue;
      try {
        return tokenizer_files_at(file);
      } catch (const std::runtime_error& error) {
        throw std::runtime_error(
            fmt::format("{}; give the tokenizer.json of this model with --tokenizer", error.what()));
      }
    }
    return {};
  }

  std::string where_;
  std::string config_json_;
  TokenizerFiles tokenizer_files_;
  std::vector<CheckpointTensor> tensors_;
  std::map<std::string, Joined, std::less<>> stored_;
  std::int64_t head_dim_ = 0;
};

}  // namespace

bool is_meta_directory(const fs::path& directory) {
  return !fs::exists(directory / "config.json") && fs::exists(directory / "params.json") &&
         fs::exists(directory / "consolidated.00.pth");
}

std::unique_ptr<Checkpoint> open_meta_checkpoint(const fs::path& directory,
                                                 const CheckpointOptions& options) {
  return std::make_unique<MetaCheckpoint>(directory, options);
}

}  // namespace spqr
