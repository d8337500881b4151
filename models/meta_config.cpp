// Meta's params.json -> config.json.
#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <stdexcept>

#include "models/json.h"
#include "models/meta_checkpoint.h"

namespace spqr {
namespace {

using Json = nlohmann::json;

constexpr std::int64_t kLlama3Vocabulary = 128256;

template <typename T>
T number(const Json& params, const char* key, const std::string& where) {
  const auto found = params.find(key);
  const bool good =
      found != params.end() && (std::is_integral_v<T> ? found->is_number_integer() : found->is_number());
  if (!good) throw std::runtime_error(fmt::format("{}: {} is missing or no number", where, key));
  return found->get<T>();
}

// params.json does not say it; the families differ in what it does say.
std::int64_t context_length(const Json& params, std::int64_t vocab_size) {
  if (params.contains("use_scaled_rope") && params["use_scaled_rope"] == true)
    return 131072;  // LLaMA 3.1, 3.2
  if (vocab_size == kLlama3Vocabulary) return 8192;
  if (params.contains("rope_theta") && params["rope_theta"] == 1e6) return 16384;  // Code Llama
  const bool llama1 = params["norm_eps"] == 1e-6 || (params["dim"] == 8192 && !params.contains("n_kv_heads"));
  return llama1 ? 2048 : 4096;
}

// LLaMA 3.1 stretches positions 8 times; 3.2's small models, less than 4096 wide, 32 times.
Json scaled_rope(const Json& params, const std::string& where) {
  double factor = params["dim"] >= 4096 ? 8 : 32;
  if (params.contains("rope_scaling_factor")) factor = number<double>(params, "rope_scaling_factor", where);
  return {{"rope_type", "llama3"},
          {"factor", factor},
          {"low_freq_factor", 1.0},
          {"high_freq_factor", 4.0},
          {"original_max_position_embeddings", 8192}};
}

}  // namespace

std::string meta_config_json(const std::string& params_json, std::int64_t intermediate_size,
                             std::int64_t vocab_size, const std::string& where) {
  const Json params = parse_json_strict(params_json, where);
  if (!params.is_object()) throw std::runtime_error(fmt::format("{}: expected a JSON object", where));
  for (const char* key : {"moe", "vision_chunk_size", "quantization_args"}) {
    if (params.contains(key) && !params[key].is_null())
      throw std::runtime_error(fmt::format("{}: a model with {} is not supported", where, key));
  }
  const auto heads = number<std::int64_t>(params, "n_heads", where);
  Json config{{"architectures", {"LlamaForCausalLM"}},
              {"model_type", "llama"},
              {"hidden_act", "silu"},
              {"hidden_size", number<std::int64_t>(params, "dim", where)},
              {"intermediate_size", intermediate_size},
              {"num_hidden_layers", number<std::int64_t>(params, "n_layers", where)},
              {"num_attention_heads", heads},
              {"num_key_value_heads", heads},
              {"vocab_size", vocab_size},
              {"rms_norm_eps", number<double>(params, "norm_eps", where)},
              {"rope_theta", 10000.0},
              {"tie_word_embeddings", false},
              {"bos_token_id", 1},
              {"eos_token_id", 2}};
  config["max_position_embeddings"] = context_length(params, vocab_size);
  if (params.contains("n_kv_heads") && !params["n_kv_heads"].is_null())
    config["num_key_value_heads"] = number<std::int64_t>(params, "n_kv_heads", where);
  if (params.contains("rope_theta")) config["rope_theta"] = number<double>(params, "rope_theta", where);
  if (config["max_position_embeddings"] == 131072) config["rope_scaling"] = scaled_rope(params, where);
  if (vocab_size == kLlama3Vocabulary) {
    config["bos_token_id"] = 128000;
    config["eos_token_id"] = {128001, 128008, 128009};
  }
  return config.dump(2);
}

}  // namespace spqr
