#include "models/model.h"

#include <fmt/core.h>

#include <stdexcept>

#include "models/llama.h"

namespace spqr {
namespace {

// One family so far; each has its own file and its own line here.
void require_llama_family(const ModelConfig& config) {
  for (const char* name : {"llama", "mistral", "qwen2", "qwen3"}) {
    if (config.model_type == name) return;
  }
  throw std::invalid_argument(fmt::format(
      "architecture '{}' is not supported; there are: llama, mistral, qwen2, qwen3", config.model_type));
}

}  // namespace

std::size_t workspace_bytes(const ModelConfig& config, std::int64_t tokens) {
  require_llama_family(config);
  return llama_workspace_bytes(config, tokens);
}

std::unique_ptr<Model> make_model(const ModelConfig& config, WeightSource& source, Backend& backend,
                                  std::int64_t max_tokens, const ModelParts& parts) {
  require_llama_family(config);
  return make_llama(config, source, backend, max_tokens, parts);
}

std::vector<LinearGroupSpec> block_linears(const ModelConfig& config, std::int64_t layer) {
  require_llama_family(config);
  return llama_block_linears(config, layer);
}

std::vector<std::string> block_vectors(const ModelConfig& config, std::int64_t layer) {
  require_llama_family(config);
  return llama_block_vectors(config, layer);
}

}  // namespace spqr
