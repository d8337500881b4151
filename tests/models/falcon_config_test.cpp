// Falcon's configurations, and that the tensors of real ones are those that the model asks for.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "models/fused_qkv.h"
#include "models/model.h"
#include "tests/models/files.h"
#include "tests/models/tensor_list.h"
#include "tests/test_data.h"

namespace spqr {
namespace {

using Json = nlohmann::json;

ModelConfig parse(const Json& config) {
  return parse_config(config.dump(), "config.json");
}

// Falcon with four heads and what is missing.
Json falcon(const Json& more) {
  Json json = {{"model_type", "falcon"},
               {"hidden_size", 64},
               {"num_hidden_layers", 2},
               {"num_attention_heads", 4},
               {"vocab_size", 384}};
  json.update(more);
  return json;
}

std::string error_with(const Json& more) {
  return message_of([&] { parse(falcon(more)); });
}

ModelConfig golden(const std::string& name) {
  const auto path = std::filesystem::path(SPQR_FIXTURES) / "golden" / name / "config.json";
  return parse_config(read_bytes(path), name);
}

}  // namespace

// Expected: transformers 5's FalconConfig on the same members.
TEST_CASE("falcon config: what is missing has transformers' default") {
  const ModelConfig config = parse(falcon(Json::object()));
  CHECK(config.model_type == "falcon");
  CHECK(config.intermediate_size == 256);
  CHECK(config.num_key_value_heads == 1);
  CHECK(config.head_dim == 16);
  CHECK(config.layer_norm_epsilon == 1e-5);
  CHECK(config.max_position_embeddings == 2048);
  CHECK(config.rope_theta == 10000);
  CHECK(config.tie_word_embeddings);
  CHECK(config.parallel_attn);
  CHECK(config.num_ln_in_parallel_attn == 1);
  CHECK_FALSE(config.alibi);
  CHECK_FALSE(config.attention_bias);
  CHECK_FALSE(config.mlp_bias);
  CHECK(config.bos_token_id == 11);
  CHECK(config.eos_token_ids == std::vector<std::int32_t>{11});
  CHECK(parse(falcon({{"new_decoder_architecture", true}})).num_ln_in_parallel_attn == 2);
  CHECK(parse(falcon({{"new_decoder_architecture", true}})).num_key_value_heads == 4);
  CHECK(parse(falcon({{"multi_query", false}})).num_key_value_heads == 4);
  CHECK(parse(falcon({{"num_kv_heads", 4}})).num_key_value_heads == 1);
}

TEST_CASE("falcon config: as transformers writes them") {
  CHECK(golden("falcon-7b").num_key_value_heads == 1);
  CHECK(golden("falcon-40b").num_key_value_heads == 2);
  CHECK(golden("falcon-40b").num_ln_in_parallel_attn == 2);
  CHECK(golden("falcon2-11b").num_ln_in_parallel_attn == 1);
  const ModelConfig rw = golden("falcon-rw");
  CHECK(rw.alibi);
  CHECK(rw.attention_bias);
  CHECK(rw.mlp_bias);
  CHECK_FALSE(rw.parallel_attn);
  CHECK(rw.num_key_value_heads == 4);
}

TEST_CASE("falcon config: the names of 2023") {
  const Json old = {
      {"model_type", "RefinedWeb"}, {"hidden_size", 8192}, {"n_head", 128}, {"n_head_kv", 8}, {"n_layer", 60},
      {"vocab_size", 65024},        {"alibi", false},      {"bias", false}};
  const ModelConfig config = parse(old);
  CHECK(config.model_type == "falcon");
  CHECK(config.num_attention_heads == 128);
  CHECK(config.num_key_value_heads == 8);
  CHECK(config.num_hidden_layers == 60);
  CHECK(config.intermediate_size == 32768);
  CHECK(config.num_ln_in_parallel_attn == 2);
  Json nameless = old;
  nameless["model_type"] = nullptr;
  nameless["architectures"] = {"RWForCausalLM"};
  CHECK(parse(nameless).model_type == "falcon");
}

TEST_CASE("falcon config: what is not supported is refused by name") {
  for (const char* type : {"falcon_h1", "falcon_mamba", "zamba2"}) {
    CHECK(contains(error_with({{"model_type", type}}), "'" + std::string(type) + "' is not supported"));
  }
  CHECK(contains(error_with({{"model_type", "falcon_h1"}, {"architectures", {"FalconH1ForCausalLM"}}}),
                 "'FalconH1ForCausalLM' is not supported"));
  CHECK(contains(error_with({{"architectures", {"FalconForSequenceClassification"}}}),
                 "'FalconForSequenceClassification' is not supported"));
  CHECK(contains(error_with({{"model_type", "falcon_e"}, {"architectures", {"FalconForCausalLM"}}}),
                 "model_type 'falcon_e' is not supported; supported: "));
  CHECK(contains(error_with({{"activation", "relu"}}), "activation 'relu'"));
  CHECK(contains(error_with({{"new_decoder_architecture", true}, {"parallel_attn", false}}),
                 "new_decoder_architecture without parallel_attn"));
  CHECK(contains(error_with({{"num_ln_in_parallel_attn", 2}}), "without new_decoder_architecture"));
  CHECK(
      contains(error_with({{"num_ln_in_parallel_attn", 3}}), "num_ln_in_parallel_attn must be from 1 to 2"));
  CHECK(contains(error_with({{"multi_query", false}, {"num_kv_heads", 2}}), "num_kv_heads 2 of 4 heads"));
  CHECK(contains(error_with({{"new_decoder_architecture", true}, {"num_kv_heads", 3}}),
                 "not a multiple of num_kv_heads 3"));
  CHECK(contains(error_with({{"apply_residual_connection_post_layernorm", true}}), "post_layernorm"));
  CHECK(contains(error_with({{"num_attention_heads", 5}}), "not a multiple of num_attention_heads 5"));
  CHECK(contains(error_with({{"num_attention_heads", 64}}), "heads of 1 numbers"));
  CHECK(contains(error_with({{"num_attention_heads", nullptr}}), "num_attention_heads is missing"));
  CHECK(contains(error_with({{"alibi", true}, {"max_position_embeddings", 1 << 30}}), "alibi with 4 heads"));
  CHECK(contains(error_with({{"rope_scaling", {{"type", "dynamic"}, {"factor", 2.0}}}}), "'dynamic'"));
}

TEST_CASE("falcon config: the published falcon-7b, and its tensors are those that the model asks for") {
  const auto path = test_data("tokenizers/falcon-7b");
  if (!path) return;
  const std::string json = read_bytes(*path / "config.json");
  const ModelConfig config = parse_config(json, "falcon-7b");
  CHECK(config.head_dim == 64);
  CHECK(config.num_key_value_heads == 1);
  CHECK(config.intermediate_size == 18176);
  CHECK(config.bos_token_id == 11);

  std::vector<CheckpointTensor> tensors;
  const Json index = Json::parse(read_bytes(*path / "pytorch_model.bin.index.json"));
  for (const auto& [name, file] : index.at("weight_map").items()) {
    tensors.push_back({name, {contains(name, "query_key_value") ? 73 * 64 : 1, 1}, "BF16"});
  }
  const auto checkpoint = with_split_qkv(std::make_unique<TensorList>(json, tensors), QkvOrder::by_kv_head);
  std::set<std::string> asked = {embedding_module(config) + ".weight", std::string(kHeadModule) + ".weight"};
  for (const std::string& name : norm_vectors(config, final_norm_module(config))) asked.insert(name);
  for (std::int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    for (const LinearGroupSpec& group : block_linears(config, layer)) {
      for (const std::string& module : group.modules) asked.insert(module + ".weight");
    }
    for (const std::string& name : block_vectors(config, layer)) asked.insert(name);
  }
  std::set<std::string> found;
  for (const CheckpointTensor& tensor : checkpoint->tensors()) found.insert(tensor.name);
  CHECK(found == asked);
}

}  // namespace spqr
