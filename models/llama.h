// The LLaMA family: LLaMA 1/2/3, Mistral (sliding window), Qwen2 (q, k, v biases), Qwen3 (q, k norms).
// Source: arXiv 2302.13971; tensor names and the order of operations are Hugging Face's.
#pragma once

#include <memory>

#include "models/model.h"

namespace spqr {

// As the functions of models/model.h; `parts` is complete and in range.
std::unique_ptr<Model> make_llama(const ModelConfig& config, WeightSource& source, Backend& backend,
                                  std::int64_t max_tokens, const ModelParts& parts);
std::size_t llama_workspace_bytes(const ModelConfig& config, std::int64_t tokens);
std::vector<LinearGroupSpec> llama_block_linears(const ModelConfig& config, std::int64_t layer);
std::vector<std::string> llama_block_vectors(const ModelConfig& config, std::int64_t layer);

}  // namespace spqr
