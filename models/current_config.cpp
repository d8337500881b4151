#include "models/current_config.h"

#include <array>
#include <nlohmann/json.hpp>
#include <utility>

#include "models/config.h"
#include "models/json.h"

namespace spqr {
namespace {

using Json = nlohmann::json;

void rename_falcon(Json& config) {
  constexpr std::array<std::pair<const char*, const char*>, 4> kNames{{{"n_embed", "hidden_size"},
                                                                       {"n_layer", "num_hidden_layers"},
                                                                       {"n_head", "num_attention_heads"},
                                                                       {"n_head_kv", "num_kv_heads"}}};
  if (!config.contains("new_decoder_architecture"))
    config["new_decoder_architecture"] = config.value("model_type", "") == "RefinedWeb";
  for (const auto& [older, name] : kNames) {
    if (config.contains(older) && !config.contains(name)) config[name] = config[older];
    config.erase(older);
  }
  config.erase("head_dim");  // follows from the others, and is refused
}

// transformers reads rope_theta and rope_scaling whatever its version, rope_parameters since 5.
void separate_rope_parameters(const ModelConfig& model, Json& config) {
  Json parameters = config.value("rope_parameters", Json());
  config.erase("rope_parameters");
  if (parameters.empty() || !config.value("rope_scaling", Json()).empty()) return;
  parameters.erase("rope_theta");
  config["rope_theta"] = model.rope_theta;
  config["rope_scaling"] = model.rope_scaling.type == RopeScaling::Type::none ? Json() : parameters;
}

}  // namespace

std::string current_config_json(const std::string& json, const std::string& where) {
  const ModelConfig model = parse_config(json, where);
  Json config = parse_json_strict(json, where);
  if (model.model_type == "falcon") rename_falcon(config);
  config["model_type"] = model.model_type;
  config["architectures"] = {architecture_name(model)};
  config.erase("auto_map");  // the checkpoint's own code, which did what transformers does now
  config["max_position_embeddings"] = model.max_position_embeddings;  // LLaMA's had another name once
  separate_rope_parameters(model, config);
  return to_text(config, 2) + "\n";
}

}  // namespace spqr
