#include "runtime/tied_head.h"

#include <nlohmann/json.hpp>

namespace spqr {

bool settle_head(QuantizeSettings& settings, ModelConfig& config) {
  if (!config.tie_word_embeddings) return false;
  const bool untied = settings.head_given && settings.head != settings.embedding;
  if (!untied) settings.head = settings.embedding;
  config.tie_word_embeddings = !untied;
  return untied;
}

std::string untied_config(const std::string& config_json) {
  nlohmann::json config = nlohmann::json::parse(config_json);
  config["tie_word_embeddings"] = false;
  return config.dump(2);
}

}  // namespace spqr
