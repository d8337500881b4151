#include "models/model.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <stdexcept>
#include <string_view>

#include "models/falcon.h"
#include "models/llama.h"

namespace spqr {
namespace {

struct Architecture {
  std::string_view model_type;
  std::unique_ptr<Model> (*make)(const ModelConfig& config, WeightSource& source, Backend& backend,
                                 std::int64_t max_tokens, const ModelParts& parts);
  std::size_t (*workspace_bytes)(const ModelConfig& config, std::int64_t tokens);
  std::vector<LinearGroupSpec> (*block_linears)(const ModelConfig& config, std::int64_t layer);
  std::vector<std::string> (*block_vectors)(const ModelConfig& config, std::int64_t layer);
  const char* embedding_module;
  const char* final_norm_module;
  bool layer_norm;  // its norms are LayerNorm, not RMSNorm
};

constexpr Architecture llama_family(std::string_view model_type) {
  return {model_type,          make_llama,           llama_workspace_bytes, llama_block_linears,
          llama_block_vectors, "model.embed_tokens", "model.norm",          false};
}

constexpr std::array kArchitectures = {
    llama_family("llama"), llama_family("mistral"), llama_family("qwen2"), llama_family("qwen3"),
    Architecture{"falcon", make_falcon, falcon_workspace_bytes, falcon_block_linears, falcon_block_vectors,
                 "transformer.word_embeddings", "transformer.ln_f", true}};

const Architecture& architecture_of(const ModelConfig& config) {
  std::string known;
  for (const Architecture& architecture : kArchitectures) {
    if (architecture.model_type == config.model_type) return architecture;
    known.append(known.empty() ? "" : ", ").append(architecture.model_type);
  }
  throw std::runtime_error(
      fmt::format("model_type \"{}\" is not supported, expected one of {}", config.model_type, known));
}

ModelParts complete(ModelParts parts, const ModelConfig& config) {
  if (parts.layers < 0) parts.layers = config.num_hidden_layers - parts.first_layer;
  if (parts.first_layer < 0 || parts.layers < 0 ||
      parts.layers > config.num_hidden_layers - parts.first_layer) {
    throw std::invalid_argument(
        fmt::format("blocks from {}, {} of them, were asked for, but the model has {}", parts.first_layer,
                    parts.layers, config.num_hidden_layers));
  }
  return parts;
}

}  // namespace

std::unique_ptr<Model> make_model(const ModelConfig& config, WeightSource& source, Backend& backend,
                                  std::int64_t max_tokens, const ModelParts& parts) {
  const Architecture& architecture = architecture_of(config);
  if (max_tokens < 1) {
    throw std::invalid_argument(
        fmt::format("a model for calls of {} tokens, expected at least one", max_tokens));
  }
  return architecture.make(config, source, backend, max_tokens, complete(parts, config));
}

std::size_t workspace_bytes(const ModelConfig& config, std::int64_t tokens) {
  return architecture_of(config).workspace_bytes(config, tokens);
}

LargestShapes largest_shapes(const ModelConfig& config, std::int64_t tokens) {
  LargestShapes largest{tokens,
                        0,
                        config.num_attention_heads,
                        config.num_attention_heads / config.num_key_value_heads,
                        config.head_dim,
                        config.vocab_size};
  for (const LinearGroupSpec& group : block_linears(config, 0))
    largest.in_features = std::max(largest.in_features, group.n);
  return largest;
}

void check_ids(std::span<const std::int32_t> ids, const ModelConfig& config) {
  for (const std::int32_t id : ids) {
    if (id < 0 || id >= config.vocab_size) {
      throw std::invalid_argument(
          fmt::format("token id {} is outside the vocabulary of {}", id, config.vocab_size));
    }
  }
}

std::vector<LinearGroupSpec> block_linears(const ModelConfig& config, std::int64_t layer) {
  return architecture_of(config).block_linears(config, layer);
}

std::vector<std::string> block_vectors(const ModelConfig& config, std::int64_t layer) {
  return architecture_of(config).block_vectors(config, layer);
}

std::string embedding_module(const ModelConfig& config) {
  return architecture_of(config).embedding_module;
}

std::string final_norm_module(const ModelConfig& config) {
  return architecture_of(config).final_norm_module;
}

std::vector<std::string> norm_vectors(const ModelConfig& config, const std::string& module) {
  if (architecture_of(config).layer_norm) return {module + ".weight", module + ".bias"};
  return {module + ".weight"};
}

Norm read_norm(const ModelConfig& config, WeightSource& source, const std::string& module,
               std::int64_t size) {
  if (architecture_of(config).layer_norm) {
    return {source.vector(module + ".weight", size), static_cast<float>(config.layer_norm_epsilon),
            source.vector(module + ".bias", size)};
  }
  return {.weight = source.vector(module + ".weight", size), .eps = static_cast<float>(config.rms_norm_eps)};
}

}  // namespace spqr
