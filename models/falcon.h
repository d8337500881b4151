// Falcon: 7B (one key and value head), 40B and 180B (grouped heads, two layer norms), Falcon2-11B (grouped
// heads, one layer norm), Falcon-RW (ALiBi, biases, attention and MLP one after the other).
// Source: arXiv 2311.16867 and 2306.01116; tensor names and the order of operations are Hugging Face's, with
// query_key_value as q_proj, k_proj and v_proj (fused_qkv.h).
#pragma once

#include <memory>

#include "models/model.h"

namespace spqr {

// As the functions of models/model.h; `parts` is complete and in range.
std::unique_ptr<Model> make_falcon(const ModelConfig& config, WeightSource& source, Backend& backend,
                                   std::int64_t max_tokens, const ModelParts& parts);
std::size_t falcon_workspace_bytes(const ModelConfig& config, std::int64_t tokens);
std::vector<LinearGroupSpec> falcon_block_linears(const ModelConfig& config, std::int64_t layer);
std::vector<std::string> falcon_block_vectors(const ModelConfig& config, std::int64_t layer);

}  // namespace spqr
