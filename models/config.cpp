#include "models/config.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <span>
#include <stdexcept>
#include <string_view>

#include "models/config_members.h"
#include "models/falcon_config.h"
#include "models/json.h"

namespace spqr {
namespace {

using Json = nlohmann::json;

// Its current name first, then those that it had.
struct Architecture {
  std::string_view model_type;
  std::array<std::string_view, 2> names;
  std::array<std::string_view, 2> older_types;
};
constexpr std::array kArchitectures{
    Architecture{"llama", {"LlamaForCausalLM", "LLaMAForCausalLM"}, {}},
    Architecture{"mistral", {"MistralForCausalLM"}, {}}, Architecture{"qwen2", {"Qwen2ForCausalLM"}, {}},
    Architecture{"qwen3", {"Qwen3ForCausalLM"}, {}},
    Architecture{"falcon", {"FalconForCausalLM", "RWForCausalLM"}, {"RefinedWeb", "RefinedWebModel"}}};

bool is_one_of(std::string_view name, std::span<const std::string_view> names) {
  return !name.empty() && std::ranges::find(names, name) != names.end();
}

std::string supported() {
  std::vector<std::string> all;
  for (const Architecture& known : kArchitectures)
    all.push_back(fmt::format("{} ({})", known.names.front(), known.model_type));
  return fmt::format("{}", fmt::join(all, ", "));
}

std::string model_type_of(const Members& members) {
  const std::string type = members.text_or("model_type", "");
  std::string architecture;
  if (const Json* names = members.find("architectures");
      names != nullptr && names->is_array() && !names->empty()) {
    if (names->front().is_string()) architecture = names->front().get<std::string>();
  }
  if (type.empty() && architecture.empty())
    members.fail("neither model_type nor architectures says what model this is");
  const auto head = architecture.rfind("For");
  if (head != std::string::npos && !architecture.substr(head).starts_with("ForCausalLM"))
    members.fail(fmt::format(
        "architecture '{}' is not supported: expected one that writes text (ForCausalLM); supported: {}",
        architecture, supported()));
  bool is_known_name = false;
  for (const Architecture& known : kArchitectures) {
    is_known_name = is_known_name || is_one_of(architecture, known.names);
    const bool is_it = type.empty() ? is_one_of(architecture, known.names)
                                    : type == known.model_type || is_one_of(type, known.older_types);
    if (is_it) return std::string(known.model_type);
  }
  if (is_known_name)
    members.fail(fmt::format("model_type '{}' is not supported; supported: {}", type, supported()));
  members.fail(fmt::format("architecture '{}' is not supported; supported: {}",
                           architecture.empty() ? type : architecture, supported()));
}

void refuse_quantized(const Members& members) {
  for (const char* key : {"quantization_config", "compression_config"}) {
    const auto quantization = members.object(key);
    if (!quantization) continue;
    members.fail(fmt::format(
        "the checkpoint is already quantized ({} with quant_method '{}'), which is not supported; "
        "use the unquantized one (F32, F16 or BF16 weights)",
        key, quantization->text_or("quant_method", "unknown")));
  }
}

void read_shape(const Members& members, ModelConfig& config) {
  config.hidden_size = members.integer("hidden_size", 1, kMaxWidth);
  config.intermediate_size = members.integer("intermediate_size", 1, kMaxWidth);
  config.num_hidden_layers = members.integer("num_hidden_layers", 1, kMaxLayers);
  config.num_attention_heads = members.integer("num_attention_heads", 1, kMaxHeads);
  config.vocab_size = members.integer("vocab_size", 1, kMaxVocab);

  std::int64_t default_kv_heads = config.num_attention_heads;
  if (!members.is_null("num_key_value_heads")) {
    if (config.model_type == "mistral") default_kv_heads = 8;
    if (config.model_type == "qwen2" || config.model_type == "qwen3") default_kv_heads = 32;
  }
  config.num_key_value_heads = members.integer_or("num_key_value_heads", default_kv_heads, 1, kMaxHeads);
  if (config.num_attention_heads % config.num_key_value_heads != 0) {
    members.fail(fmt::format("num_attention_heads {} is not a multiple of num_key_value_heads {}",
                             config.num_attention_heads, config.num_key_value_heads));
  }

  if (members.find("head_dim") != nullptr) {
    config.head_dim = members.integer("head_dim", 1, kMaxHeadDim);
  } else if (config.model_type == "qwen3" && !members.is_null("head_dim")) {
    config.head_dim = 128;
  } else if (config.hidden_size % config.num_attention_heads != 0) {
    members.fail(
        fmt::format("hidden_size {} is not a multiple of num_attention_heads {}, and there is no head_dim",
                    config.hidden_size, config.num_attention_heads));
  } else {
    config.head_dim = config.hidden_size / config.num_attention_heads;
  }
  if (config.head_dim % 2 != 0 || config.head_dim > kMaxHeadDim) {
    members.fail(fmt::format("head_dim must be even and at most {}, found {}", kMaxHeadDim, config.head_dim));
  }
  if (config.num_attention_heads * config.head_dim > kMaxWidth) {
    members.fail(fmt::format("num_attention_heads {} x head_dim {} is more than {}",
                             config.num_attention_heads, config.head_dim, kMaxWidth));
  }
}

void read_positions(const Members& members, ModelConfig& config) {
  std::int64_t fallback = 2048;  // llama
  if (config.model_type == "mistral") fallback = 4096 * 32;
  if (config.model_type == "qwen2" || config.model_type == "qwen3") fallback = 32768;
  // LLaMA 1 conversions of early 2023 called it max_sequence_length.
  if (config.model_type == "llama")
    fallback = members.integer_or("max_sequence_length", fallback, 1, kMaxPositions);
  config.max_position_embeddings = members.integer_or("max_position_embeddings", fallback, 1, kMaxPositions);
}

void read_llama3_scaling(const Members& members, const Members& rope, ModelConfig& config) {
  RopeScaling& scaling = config.rope_scaling;
  scaling.low_freq_factor = rope.positive("low_freq_factor");
  scaling.high_freq_factor = rope.positive("high_freq_factor");
  if (!(scaling.high_freq_factor > scaling.low_freq_factor)) {
    rope.fail(fmt::format("high_freq_factor {} must be above low_freq_factor {}", scaling.high_freq_factor,
                          scaling.low_freq_factor));
  }
  const char* key = "original_max_position_embeddings";
  const std::int64_t inner = rope.integer_or(key, config.max_position_embeddings, 1, kMaxPositions);
  scaling.original_max_position_embeddings = members.integer_or(key, inner, 1, kMaxPositions);
}

// `rope`: rope_scaling of older files, rope_parameters of newer ones, which also hold rope_theta.
void read_rope(const Members& members, ModelConfig& config) {
  config.rope_theta = members.positive_or("rope_theta", 10000);
  auto rope = members.object("rope_scaling");
  if (!rope) rope = members.object("rope_parameters");
  if (rope) config.rope_theta = rope->positive_or("rope_theta", config.rope_theta);

  const double rotary = members.positive_or("partial_rotary_factor", 1);
  if ((rope ? rope->positive_or("partial_rotary_factor", rotary) : rotary) != 1) {
    members.fail("partial_rotary_factor other than 1 is not supported");
  }
  if (!rope) return;
  for (const char* layer_type : {"full_attention", "sliding_attention"}) {
    if (rope->find(layer_type) != nullptr)
      rope->fail("RoPE parameters that differ between layers are not supported");
  }
  const std::string type = rope->text_or("rope_type", rope->text_or("type", "default"));
  if (type == "default") return;
  if (type != "linear" && type != "llama3") {
    rope->fail(fmt::format("rope_type '{}' is not supported; supported: default, linear, llama3", type));
  }
  config.rope_scaling.type = type == "linear" ? RopeScaling::Type::linear : RopeScaling::Type::llama3;
  config.rope_scaling.factor = rope->positive("factor");
  if (type == "llama3") read_llama3_scaling(members, *rope, config);
}

// Qwen's files may give each layer its kind of attention. Returns whether the layers slide; refuses a
// mixture.
bool layers_slide(const Members& members, const ModelConfig& config) {
  const Json* layer_types = members.find("layer_types");
  if (layer_types == nullptr) {
    const std::int64_t full_layers = members.integer_or("max_window_layers", 28, 0, kMaxPositions);
    if (full_layers != 0 && full_layers < config.num_hidden_layers) {
      members.fail(
          fmt::format("sliding-window attention from layer {} of {} on (max_window_layers) is not supported: "
                      "all layers have to be of one kind",
                      full_layers, config.num_hidden_layers));
    }
    return full_layers == 0;
  }
  if (!layer_types->is_array() ||
      static_cast<std::int64_t>(layer_types->size()) != config.num_hidden_layers) {
    members.fail(fmt::format("layer_types must list the kinds of {} layers", config.num_hidden_layers));
  }
  for (const Json& kind : *layer_types) {
    if (kind != "full_attention" && kind != "sliding_attention") {
      members.fail(fmt::format("layer type {} is not supported", Members::shown(kind)));
    }
    if (kind != layer_types->front()) {
      members.fail("layer_types that mix full and sliding attention are not supported");
    }
  }
  return layer_types->front() == "sliding_attention";
}

void read_attention(const Members& members, ModelConfig& config) {
  const bool qwen = config.model_type == "qwen2" || config.model_type == "qwen3";
  if (config.model_type == "mistral" && !members.is_null("sliding_window")) {
    config.sliding_window = members.integer_or("sliding_window", 4096, 1, kMaxPositions);
  }
  if (qwen && members.boolean_or("use_sliding_window", false) && !members.is_null("sliding_window")) {
    const std::int64_t window = members.integer_or("sliding_window", 4096, 1, kMaxPositions);
    if (layers_slide(members, config)) config.sliding_window = window;
  }
  config.attention_bias = config.model_type == "qwen2";
  if (config.model_type == "llama") config.attention_bias = members.boolean_or("attention_bias", false);
  if (config.model_type == "qwen3" && members.boolean_or("attention_bias", false)) {
    members.fail("attention_bias is not supported for qwen3");
  }
  if (config.model_type == "llama") config.mlp_bias = members.boolean_or("mlp_bias", false);
  config.qk_norm = config.model_type == "qwen3";
}

std::int32_t token_id(const Members& members, const char* key, const Json& value, const ModelConfig& config) {
  return static_cast<std::int32_t>(members.integer(key, value, -1, config.vocab_size - 1));
}

void read_special_tokens(const Members& members, ModelConfig& config) {
  const bool falcon = config.model_type == "falcon";
  const bool has_defaults = falcon || config.model_type == "llama" || config.model_type == "mistral";
  const std::int32_t default_bos = falcon ? 11 : 1;
  const std::int32_t default_eos = falcon ? 11 : 2;
  if (const Json* bos = members.find("bos_token_id"); bos != nullptr) {
    config.bos_token_id = token_id(members, "bos_token_id", *bos, config);
  } else if (has_defaults && !members.is_null("bos_token_id") && config.vocab_size > default_bos) {
    config.bos_token_id = default_bos;
  }
  const auto add_eos = [&](const Json& value) {
    const std::int32_t id = token_id(members, "eos_token_id", value, config);
    if (id >= 0) config.eos_token_ids.push_back(id);
  };
  if (const Json* eos = members.find("eos_token_id"); eos == nullptr) {
    if (has_defaults && !members.is_null("eos_token_id") && config.vocab_size > default_eos)
      config.eos_token_ids = {default_eos};
  } else if (eos->is_array()) {
    for (const Json& id : *eos) add_eos(id);
  } else {
    add_eos(*eos);
  }
}

void read_llama(const Members& members, ModelConfig& config) {
  const std::string activation = members.text_or("hidden_act", "silu");
  if (activation != "silu" && activation != "swish") {
    members.fail(fmt::format("hidden_act '{}' is not supported; supported: silu", activation));
  }
  read_shape(members, config);
  read_positions(members, config);
  config.rms_norm_eps = members.positive_or("rms_norm_eps", 1e-6);
  config.tie_word_embeddings = members.boolean_or("tie_word_embeddings", false);
  read_attention(members, config);
}

}  // namespace

std::string architecture_name(const ModelConfig& config) {
  const auto known = std::ranges::find(kArchitectures, config.model_type, &Architecture::model_type);
  return std::string(known->names.front());
}

ModelConfig parse_config(const std::string& json, const std::string& where) {
  const Json object = parse_json_strict(json, where);
  if (!object.is_object()) throw std::runtime_error(fmt::format("{}: expected a JSON object", where));
  const Members members(object, where);

  ModelConfig config;
  config.model_type = model_type_of(members);
  refuse_quantized(members);
  if (config.model_type == "falcon") {
    read_falcon(members, config);
  } else {
    read_llama(members, config);
  }
  if (!config.alibi) read_rope(members, config);
  read_special_tokens(members, config);
  return config;
}

}  // namespace spqr
