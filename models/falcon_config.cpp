#include "models/falcon_config.h"

namespace spqr {
namespace {

// A table of this many numbers for ALiBi takes 512 MiB.
constexpr std::int64_t kMaxAlibi = std::int64_t{1} << 27;

// `key`, or its older name where only that is there.
const char* either(const Members& members, const char* key, const char* older) {
  return members.find(key) == nullptr && members.find(older) != nullptr ? older : key;
}

void read_shape(const Members& members, ModelConfig& config) {
  config.hidden_size = members.integer(either(members, "hidden_size", "n_embed"), 1, kMaxWidth / 4);
  config.intermediate_size = members.integer_or("ffn_hidden_size", 4 * config.hidden_size, 1, kMaxWidth);
  config.num_hidden_layers = members.integer(either(members, "num_hidden_layers", "n_layer"), 1, kMaxLayers);
  config.num_attention_heads =
      members.integer(either(members, "num_attention_heads", "n_head"), 1, kMaxHeads);
  config.vocab_size = members.integer("vocab_size", 1, kMaxVocab);
  config.max_position_embeddings = members.integer_or("max_position_embeddings", 2048, 1, kMaxPositions);

  if (config.hidden_size % config.num_attention_heads != 0) {
    members.fail(fmt::format("hidden_size {} is not a multiple of num_attention_heads {}", config.hidden_size,
                             config.num_attention_heads));
  }
  config.head_dim = config.hidden_size / config.num_attention_heads;
  if (config.head_dim % 2 != 0 || config.head_dim > kMaxHeadDim) {
    members.fail(fmt::format("heads of {} numbers are not supported: expected an even number, at most {}",
                             config.head_dim, kMaxHeadDim));
  }
}

// Only the new decoder architecture looks at num_kv_heads; multi_query is one head whatever it says.
void read_kv_heads(const Members& members, bool new_decoder, ModelConfig& config) {
  const std::int64_t heads = config.num_attention_heads;
  const std::int64_t given =
      members.integer_or(either(members, "num_kv_heads", "n_head_kv"), heads, 1, kMaxHeads);
  if (!new_decoder && members.boolean_or("multi_query", true)) {
    config.num_key_value_heads = 1;
    return;
  }
  if (heads % given != 0) {
    members.fail(fmt::format("num_attention_heads {} is not a multiple of num_kv_heads {}", heads, given));
  }
  if (!new_decoder && given != heads) {
    members.fail(fmt::format("num_kv_heads {} of {} heads needs new_decoder_architecture or multi_query",
                             given, heads));
  }
  config.num_key_value_heads = given;
}

void read_blocks(const Members& members, bool new_decoder, ModelConfig& config) {
  config.parallel_attn = members.boolean_or("parallel_attn", true);
  config.num_ln_in_parallel_attn = members.integer_or("num_ln_in_parallel_attn", new_decoder ? 2 : 1, 1, 2);
  if (new_decoder && !config.parallel_attn) {
    members.fail("new_decoder_architecture without parallel_attn is not supported");
  }
  if (!new_decoder && config.parallel_attn && config.num_ln_in_parallel_attn == 2) {
    members.fail("num_ln_in_parallel_attn 2 without new_decoder_architecture is not supported");
  }
  if (members.boolean_or("apply_residual_connection_post_layernorm", false)) {
    members.fail("apply_residual_connection_post_layernorm is not supported");
  }
  config.attention_bias = members.boolean_or("bias", false);
  config.mlp_bias = config.attention_bias;
  const std::string activation = members.text_or("activation", "gelu");
  if (activation != "gelu") {
    members.fail(fmt::format("activation '{}' is not supported; supported: gelu", activation));
  }
}

}  // namespace

void read_falcon(const Members& members, ModelConfig& config) {
  // Configurations of 2023 tell 40B (RefinedWeb) from 7B (RefinedWebModel) by the type only.
  const bool new_decoder =
      members.boolean_or("new_decoder_architecture", members.text_or("model_type", "") == "RefinedWeb");
  read_shape(members, config);
  read_kv_heads(members, new_decoder, config);
  read_blocks(members, new_decoder, config);
  config.layer_norm_epsilon = members.positive_or("layer_norm_epsilon", 1e-5);
  config.tie_word_embeddings = members.boolean_or("tie_word_embeddings", true);
  config.alibi = members.boolean_or("alibi", false);
  if (config.alibi && config.num_attention_heads * config.max_position_embeddings > kMaxAlibi) {
    members.fail(fmt::format("alibi with {} heads and {} positions is more than is supported",
                             config.num_attention_heads, config.max_position_embeddings));
  }
}

}  // namespace spqr
