#include "models/gguf_checkpoint.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <map>
#include <span>
#include <stdexcept>
#include <utility>

#include "models/fused_qkv.h"
#include "models/model.h"
#include "models/rope_rows.h"
#include "models/tokenizer_files.h"

namespace spqr {
namespace {

using Json = nlohmann::json;
using Name = std::pair<std::string_view, std::string_view>;  // GGUF's, Hugging Face's

constexpr std::array kOutside{Name{"token_embd", "model.embed_tokens"}, Name{"output_norm", "model.norm"},
                              Name{"output", "lm_head"}};
constexpr std::array kInBlock{
    Name{"attn_norm", "input_layernorm"},    Name{"attn_q", "self_attn.q_proj"},
    Name{"attn_k", "self_attn.k_proj"},      Name{"attn_v", "self_attn.v_proj"},
    Name{"attn_output", "self_attn.o_proj"}, Name{"attn_q_norm", "self_attn.q_norm"},
    Name{"attn_k_norm", "self_attn.k_norm"}, Name{"ffn_norm", "post_attention_layernorm"},
    Name{"ffn_gate", "mlp.gate_proj"},       Name{"ffn_up", "mlp.up_proj"},
    Name{"ffn_down", "mlp.down_proj"}};
constexpr std::array kFalconOutside{Name{"token_embd", "transformer.word_embeddings"},
                                    Name{"output_norm", "transformer.ln_f"}, Name{"output", "lm_head"}};
// Where there are two norms, attn_norm is not attention's: it came first, in the files of 7B.
constexpr std::array kFalconInBlock{
    Name{"attn_norm", "input_layernorm"}, Name{"attn_qkv", "self_attention.query_key_value"},
    Name{"attn_output", "self_attention.dense"}, Name{"ffn_up", "mlp.dense_h_to_4h"},
    Name{"ffn_down", "mlp.dense_4h_to_h"}};
constexpr std::array kFalconTwoNorms{Name{"attn_norm", "ln_mlp"},
                                     Name{"attn_norm_2", "ln_attn"},
                                     Name{"attn_qkv", "self_attention.query_key_value"},
                                     Name{"attn_output", "self_attention.dense"},
                                     Name{"ffn_up", "mlp.dense_h_to_4h"},
                                     Name{"ffn_down", "mlp.dense_4h_to_h"}};

// What an architecture calls its tensors.
struct Names {
  std::span<const Name> outside, in_block;
  std::string_view blocks;  // Hugging Face's, before the number
};

Names names_of(const ModelConfig& config) {
  if (config.model_type != "falcon") return {kOutside, kInBlock, "model.layers"};
  if (config.num_ln_in_parallel_attn == 2) return {kFalconOutside, kFalconTwoNorms, "transformer.h"};
  return {kFalconOutside, kFalconInBlock, "transformer.h"};
}

// Follow from the configuration, which accounts for them (rope_freqs), or are tables of angles of old files.
bool is_ignored(std::string_view name) {
  return name == "rope_freqs.weight" || name.ends_with(".attn_rot_embd.weight") ||
         name.ends_with(".rope_freqs.weight");
}

std::string_view lookup(std::span<const Name> names, std::string_view name) {
  for (const auto& [gguf, hugging_face] : names) {
    if (gguf == name) return hugging_face;
  }
  return {};
}

// blk.7.attn_q.weight -> model.layers.7.self_attn.q_proj.weight; empty where there is no counterpart.
std::string hugging_face_name(const Names& names, std::string_view name) {
  const std::size_t dot = name.rfind('.');
  if (dot == std::string_view::npos) return {};
  const std::string_view kind = name.substr(dot + 1);
  if (kind != "weight" && kind != "bias") return {};
  std::string_view module = name.substr(0, dot);
  if (const std::string_view outside = lookup(names.outside, module); !outside.empty()) {
    return fmt::format("{}.{}", outside, kind);
  }
  if (!module.starts_with("blk.")) return {};
  module.remove_prefix(4);
  std::uint32_t layer = 0;
  const auto [end, error] = std::from_chars(module.data(), module.data() + module.size(), layer);
  const auto digits = static_cast<std::size_t>(end - module.data());
  if (error != std::errc{} || digits >= module.size() || module[digits] != '.') return {};
  const std::string_view inside = lookup(names.in_block, module.substr(digits + 1));
  return inside.empty() ? std::string{} : fmt::format("{}.{}.{}.{}", names.blocks, layer, inside, kind);
}

bool is_rotated(std::string_view name) {
  const std::string_view module = name.substr(0, name.rfind('.'));
  return module.ends_with(".q_proj") || module.ends_with(".k_proj");
}

class GgufCheckpoint final : public Checkpoint {
 public:
  GgufCheckpoint(GgufFile file, std::string where, const CheckpointOptions& options)
      : file_(std::move(file)), where_(std::move(where)), config_json_(gguf_config_json(file_, where_)) {
    const ModelConfig config = parse_config(config_json_, where_);
    head_dim_ = config.head_dim;
    interleaved_ = file_.find_value("general.architecture")->get<std::string>() == "llama";
    const Names names = names_of(config);
    for (const GgufTensor& tensor : file_.tensors()) add(names, tensor);
    if (config.tie_word_embeddings) {
      const std::string head = std::string(kHeadModule) + ".weight";
      const CheckpointTensor embedding = *find(embedding_module(config) + ".weight");
      tensors_.push_back({head, embedding.shape, embedding.stored_as});
      stored_[head] = stored_.find(embedding.name)->second;
    }
    tokenizer_files_ = chosen_tokenizer_files(own_tokenizer(), options);
  }

  const std::string& config_json() const override { return config_json_; }
  const TokenizerFiles& tokenizer_files() const override { return tokenizer_files_; }
  const std::vector<CheckpointTensor>& tensors() const override { return tensors_; }
  std::string format() const override { return "GGUF"; }
  std::string where() const override { return where_; }

  void read(std::string_view name, float* out) const override {
    const auto it = stored_.find(name);
    if (it == stored_.end()) throw std::runtime_error(fmt::format("{}: has no tensor {}", where_, name));
    const GgufTensor& tensor = *it->second;
    widen(*tensor.type, tensor.data, out);
    if (!interleaved_ || !is_rotated(name)) return;
    const std::int64_t rows = tensor.shape.front();
    interleaved_to_half_split(out, rows, element_count(tensor.shape) / rows, head_dim_);
  }

 private:
  void add(const Names& names, const GgufTensor& tensor) {
    if (is_ignored(tensor.name)) return;
    const std::string name = hugging_face_name(names, tensor.name);
    if (name.empty()) {
      throw std::runtime_error(fmt::format(
          "{}: tensor {} is not part of the architectures that are supported", where_, tensor.name));
    }
    if (!stored_.emplace(name, &tensor).second) {
      throw std::runtime_error(
          fmt::format("{}: two tensors are {}, one of them {}", where_, name, tensor.name));
    }
    if (interleaved_ && is_rotated(name) && tensor.shape.front() % head_dim_ != 0) {
      throw std::runtime_error(fmt::format("{}: tensor {} has {} rows, no multiple of the {} of a head",
                                           where_, tensor.name, tensor.shape.front(), head_dim_));
    }
    tensors_.push_back({name, tensor.shape, std::string(tensor.type->name)});
  }

  // All of tokenizer.* as one object with GGUF's own keys, where it has a vocabulary.
  TokenizerFiles own_tokenizer() const {
    if (file_.find_value("tokenizer.ggml.tokens") == nullptr) return {};
    Json object = Json::object();
    for (const auto& [key, value] : file_.metadata()) {
      if (key.starts_with("tokenizer.")) object[key] = value;
    }
    return {{"gguf_tokenizer.json", object.dump()}};
  }

  GgufFile file_;
  std::string where_;
  std::string config_json_;
  TokenizerFiles tokenizer_files_;
  std::vector<CheckpointTensor> tensors_;
  std::map<std::string, const GgufTensor*, std::less<>> stored_;
  std::int64_t head_dim_ = 0;
  bool interleaved_ = false;  // q and k rows in neighbouring pairs
};

}  // namespace

std::unique_ptr<Checkpoint> open_gguf_checkpoint(const std::filesystem::path& path,
                                                 const CheckpointOptions& options) {
  return make_gguf_checkpoint(GgufFile::open(path), path.string(), options);
}

std::unique_ptr<Checkpoint> make_gguf_checkpoint(GgufFile file, const std::string& where,
                                                 const CheckpointOptions& options) {
  return with_split_qkv(std::make_unique<GgufCheckpoint>(std::move(file), where, options), QkvOrder::by_kind);
}

}  // namespace spqr
