// A model's hyper-parameters, under Hugging Face's config.json names.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace spqr {

struct RopeScaling {
  enum class Type : std::uint8_t { none, linear, llama3 };
  Type type = Type::none;
  double factor = 1;
  double low_freq_factor = 1;
  double high_freq_factor = 4;
  std::int64_t original_max_position_embeddings = 0;
};

struct ModelConfig {
  std::string model_type;  // llama, mistral, qwen2, qwen3, falcon
  std::int64_t hidden_size = 0;
  std::int64_t intermediate_size = 0;
  std::int64_t num_hidden_layers = 0;
  std::int64_t num_attention_heads = 0;
  std::int64_t num_key_value_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t vocab_size = 0;
  std::int64_t max_position_embeddings = 0;
  double rms_norm_eps = 1e-5;
  double rope_theta = 10000;
  RopeScaling rope_scaling;
  std::int64_t sliding_window = 0;  // 0: none
  bool tie_word_embeddings = false;
  // q_proj, k_proj, v_proj (and o_proj where model_type is llama, dense where it is falcon)
  bool attention_bias = false;
  bool mlp_bias = false;  // of all linears of the MLP
  bool qk_norm = false;   // Qwen3

  // Falcon
  double layer_norm_epsilon = 1e-5;
  bool alibi = false;                        // instead of RoPE
  bool parallel_attn = false;                // attention and MLP read the same x; false: one after the other
  std::int64_t num_ln_in_parallel_attn = 1;  // 2: each of them has a norm of its own

  std::int32_t bos_token_id = -1;  // -1: none
  std::vector<std::int32_t> eos_token_ids;
};

// Parses config.json (both the older rope_theta / rope_scaling and the newer rope_parameters form), refuses
// architectures and features by name, checks ranges (heads divide, nothing is zero, products fit). What is
// missing gets transformers' default for the model_type, except the sizes of weight matrices, which have to
// be there (Falcon's ffn_hidden_size is 4 hidden_size). Falcon's older names are understood; its
// num_key_value_heads is what its kind of attention makes of num_kv_heads. Throws std::runtime_error with a
// sentence; `where` names the file in it.
ModelConfig parse_config(const std::string& json, const std::string& where);

// What transformers calls the causal language model of a configuration that parse_config made.
std::string architecture_name(const ModelConfig& config);

// inverse_frequency (head_dim / 2) with the configured scaling (transformers' ROPE_INIT_FUNCTIONS), in f32 as
// there.
std::vector<float> rope_inverse_frequency(const ModelConfig& config);

}  // namespace spqr
