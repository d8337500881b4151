// GGUF metadata -> config.json.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "models/config.h"
#include "models/gguf_checkpoint.h"
#include "models/rope_factors.h"

namespace spqr {
namespace {

using Json = nlohmann::json;

// The metadata of one architecture: find("block_count") is llama.block_count.
class Metadata {
 public:
  Metadata(const GgufFile& file, const std::string& where) : file_(file), where_(where) {
    const Json* name = file.find_value("general.architecture");
    if (name == nullptr || !name->is_string()) fail("general.architecture is missing");
    architecture_ = name->get<std::string>();
  }

  [[noreturn]] void fail(const std::string& what) const {
    throw std::runtime_error(fmt::format("{}: {}", where_, what));
  }

  const std::string& architecture() const { return architecture_; }
  const GgufFile& file() const { return file_; }
  std::string key(const char* name) const { return architecture_ + "." + name; }

  const Json* find(const char* name) const { return file_.find_value(key(name)); }
  const Json& at(const char* name) const {
    const Json* value = find(name);
    if (value == nullptr) fail(fmt::format("the metadata has no {}", key(name)));
    return *value;
  }
  std::int64_t integer(const char* name) const {
    const Json& value = at(name);
    constexpr std::uint64_t kMost = std::uint64_t{1} << 31;
    if (!value.is_number_unsigned() || value.get<std::uint64_t>() >= kMost) {
      fail(fmt::format("{} must be an integer from 0 to {}, found {}", key(name), kMost - 1,
                       value.dump().substr(0, 80)));
    }
    return value.get<std::int64_t>();
  }
  std::int64_t integer_or(const char* name, std::int64_t fallback) const {
    return find(name) == nullptr ? fallback : integer(name);
  }
  double number_or(const char* name, double fallback) const {
    const Json* value = find(name);
    if (value == nullptr) return fallback;
    if (!value->is_number() || !std::isfinite(value->get<double>())) {
      fail(fmt::format("{} must be a finite number", key(name)));
    }
    return value->get<double>();
  }

 private:
  const GgufFile& file_;
  const std::string& where_;
  std::string architecture_;
};

void read_shape(const Metadata& in, Json& config) {
  const std::int64_t heads = in.integer("attention.head_count");
  const std::int64_t hidden = in.integer("embedding_length");
  config["hidden_size"] = hidden;
  config["intermediate_size"] = in.integer("feed_forward_length");
  config["num_hidden_layers"] = in.integer("block_count");
  config["num_attention_heads"] = heads;
  config["num_key_value_heads"] = in.integer_or("attention.head_count_kv", heads);
  config["max_position_embeddings"] = in.integer("context_length");
  config["rms_norm_eps"] = in.number_or("attention.layer_norm_rms_epsilon", 0);
  config["hidden_act"] = "silu";
  if (in.integer_or("expert_count", 0) != 0) in.fail("mixtures of experts are not supported");

  if (in.find("attention.key_length") == nullptr && (heads == 0 || hidden % heads != 0)) {
    in.fail(fmt::format("embedding_length {} is not a multiple of attention.head_count {}", hidden, heads));
  }
  const std::int64_t head_dim =
      in.find("attention.key_length") != nullptr ? in.integer("attention.key_length") : hidden / heads;
  config["head_dim"] = head_dim;
  for (const char* other : {"attention.value_length", "rope.dimension_count"}) {
    if (in.integer_or(other, head_dim) != head_dim) {
      in.fail(fmt::format("{} {} other than the head's {} is not supported", in.key(other), in.integer(other),
                          head_dim));
    }
  }
}

// Falcon's blocks are told by their tensors: llama.cpp runs those in which attention and MLP are parallel.
void read_falcon(const Metadata& in, Json& config) {
  const std::int64_t heads = in.integer("attention.head_count");
  const std::int64_t kv_heads = in.integer_or("attention.head_count_kv", 1);
  const std::int64_t hidden = in.integer("embedding_length");
  const bool two_norms = in.file().find_tensor("blk.0.attn_norm_2.weight") != nullptr;
  const bool grouped = kv_heads != 1 || two_norms;
  config["hidden_size"] = hidden;
  config["ffn_hidden_size"] = in.integer("feed_forward_length");
  config["num_hidden_layers"] = in.integer("block_count");
  config["num_attention_heads"] = heads;
  config["num_kv_heads"] = kv_heads;
  config["multi_query"] = true;
  config["new_decoder_architecture"] = grouped;
  config["num_ln_in_parallel_attn"] = two_norms ? 2 : 1;
  config["parallel_attn"] = true;
  config["alibi"] = false;
  config["bias"] = in.file().find_tensor("blk.0.attn_qkv.bias") != nullptr;
  config["activation"] = "gelu";
  config["max_position_embeddings"] = in.integer("context_length");
  config["layer_norm_epsilon"] = in.number_or("attention.layer_norm_epsilon", 0);
  config["head_dim"] = heads == 0 ? 0 : hidden / heads;  // for read_rope
}

void read_vocabulary(const Metadata& in, Json& config) {
  const GgufTensor* embedding = in.file().find_tensor("token_embd.weight");
  if (embedding == nullptr) in.fail("has no tensor token_embd.weight");
  config["vocab_size"] = embedding->shape.front();
  config["tie_word_embeddings"] = in.file().find_tensor("output.weight") == nullptr;
}

// What rope_freqs.weight says, or null where it changes nothing.
Json scaling_in_tensor(const Metadata& in, const Json& config) {
  const GgufTensor& tensor = *in.file().find_tensor("rope_freqs.weight");
  ModelConfig model;
  model.head_dim = config["head_dim"].get<std::int64_t>();
  model.rope_theta = config["rope_theta"].get<double>();
  const bool fits =
      tensor.type->name == "F32" && tensor.shape.size() == 1 && tensor.shape[0] * 2 == model.head_dim;
  if (!fits || !(model.rope_theta > 0))
    in.fail("rope_freqs.weight must be F32 with half as many values as a head has");
  std::vector<float> factors(static_cast<std::size_t>(tensor.shape[0]));
  widen(*tensor.type, tensor.data, factors.data());
  const auto scaling = scaling_of_factors(factors, model);
  if (!scaling)
    in.fail(
        "rope_freqs.weight holds frequency factors other than those of the llama3 scaling, which is not "
        "supported");
  if (scaling->type == RopeScaling::Type::none) return nullptr;
  return {{"rope_type", "llama3"},
          {"factor", scaling->factor},
          {"low_freq_factor", scaling->low_freq_factor},
          {"high_freq_factor", scaling->high_freq_factor},
          {"original_max_position_embeddings", scaling->original_max_position_embeddings}};
}

void read_rope(const Metadata& in, Json& config) {
  config["rope_theta"] = in.number_or("rope.freq_base", 10000);
  config["rope_scaling"] = nullptr;
  // Files before rope.scaling.type had rope.scale_linear; a factor without a type is linear.
  const double factor = in.number_or("rope.scaling.factor", in.number_or("rope.scale_linear", 1));
  const Json* type = in.find("rope.scaling.type");
  const std::string name = type != nullptr && type->is_string() ? type->get<std::string>() : "linear";
  if (name != "none" && name != "linear") {
    in.fail(fmt::format("RoPE scaling '{}' is not supported; supported: none, linear, llama3", name));
  }
  const bool linear = name == "linear" && factor != 0 && factor != 1;
  if (linear) config["rope_scaling"] = {{"rope_type", "linear"}, {"factor", factor}};
  if (in.file().find_tensor("rope_freqs.weight") == nullptr) return;
  const Json scaling = scaling_in_tensor(in, config);
  if (linear && !scaling.is_null())
    in.fail("rope_freqs.weight together with linear RoPE scaling is not supported");
  if (!linear) config["rope_scaling"] = scaling;
}

void read_attention(const Metadata& in, Json& config) {
  const auto has = [&](const char* name) { return in.file().find_tensor(name) != nullptr; };
  const std::int64_t window = in.integer_or("attention.sliding_window", 0);
  const bool attention_bias = has("blk.0.attn_q.bias") || has("blk.0.attn_output.bias");
  const bool mlp_bias = has("blk.0.ffn_gate.bias") || has("blk.0.ffn_up.bias") || has("blk.0.ffn_down.bias");
  if (in.architecture() == "llama") {
    if (window > 0) {
      // The file does not tell a Mistral from a LLaMA; only the former has a window, and it has no biases.
      if (attention_bias || mlp_bias) in.fail("a sliding window together with biases is not supported");
      config["model_type"] = "mistral";
      config["sliding_window"] = window;
    }
    config["attention_bias"] = attention_bias;
    config["mlp_bias"] = mlp_bias;
  } else if (window > 0) {
    config["use_sliding_window"] = true;
    config["sliding_window"] = window;
    config["max_window_layers"] = 0;
  }
}

void read_special_tokens(const Metadata& in, Json& config) {
  const std::int64_t vocab = config["vocab_size"].get<std::int64_t>();
  const Json* tokens = in.file().find_value("tokenizer.ggml.tokens");
  if (tokens != nullptr && (!tokens->is_array() || static_cast<std::int64_t>(tokens->size()) > vocab)) {
    in.fail(fmt::format(
        "tokenizer.ggml.tokens must be a list of at most {} tokens, as token_embd.weight has rows", vocab));
  }
  // Writers that know of no such token leave the key out or write -1 as an unsigned number.
  const auto id_of = [&](const char* key) -> Json {
    const Json* value = in.file().find_value(key);
    if (value == nullptr) return nullptr;
    if (!value->is_number_integer()) in.fail(fmt::format("{} must be an integer", key));
    return *value == 0xffffffffU || *value == -1 ? Json(nullptr) : *value;
  };
  config["bos_token_id"] = id_of("tokenizer.ggml.bos_token_id");
  Json eos = Json::array();
  for (const char* key :
       {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"}) {
    const Json id = id_of(key);
    if (!id.is_null() && std::ranges::find(eos, id) == eos.end()) eos.push_back(id);
  }
  config["eos_token_id"] = eos;
}

}  // namespace

std::string gguf_config_json(const GgufFile& file, const std::string& where) {
  const Metadata in(file, where);
  const std::string& architecture = in.architecture();
  const bool falcon = architecture == "falcon";
  if (architecture != "llama" && architecture != "qwen2" && architecture != "qwen3" && !falcon) {
    in.fail(
        fmt::format("architecture '{}' is not supported; supported in GGUF: llama (LLaMA, Mistral), qwen2, "
                    "qwen3, falcon",
                    architecture));
  }
  Json config = {{"model_type", architecture}};
  falcon ? read_falcon(in, config) : read_shape(in, config);
  read_vocabulary(in, config);
  read_rope(in, config);
  if (!falcon) read_attention(in, config);
  read_special_tokens(in, config);
  return config.dump(2) + "\n";
}

}  // namespace spqr
