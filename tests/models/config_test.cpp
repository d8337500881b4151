#include "models/config.h"

#include <doctest/doctest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "tests/models/files.h"
#include "tests/test_data.h"

using namespace spqr;
using Json = nlohmann::json;

namespace {

// A LLaMA of the older form, as Hugging Face has written it since 2023.
Json llama() {
  return Json::parse(R"({"architectures":["LlamaForCausalLM"],"model_type":"llama","hidden_act":"silu",
    "hidden_size":64,"intermediate_size":160,"num_hidden_layers":2,"num_attention_heads":4,"vocab_size":384})");
}

Json qwen(const char* type) {
  Json config = llama();
  config["model_type"] = type;
  config["num_key_value_heads"] = 2;
  return config;
}

ModelConfig parse(const Json& config) {
  return parse_config(config.dump(), "config.json");
}

std::string error_of(const std::string& text) {
  try {
    parse_config(text, "dir/config.json");
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "no error";
}

// The message of parsing `config` with member `key` set to `value`.
std::string error_with(Json config, const char* key, const Json& value) {
  config[key] = value;
  return error_of(config.dump());
}

bool contains(const std::string& text, const char* part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

// Expected: transformers 5.23's LlamaConfig, MistralConfig, Qwen2Config and Qwen3Config on the same members.
TEST_CASE("config: what is missing has transformers' default") {
  ModelConfig config = parse(llama());
  CHECK(config.num_key_value_heads == 4);
  CHECK(config.head_dim == 16);
  CHECK(config.rms_norm_eps == 1e-6);
  CHECK(config.max_position_embeddings == 2048);
  CHECK(config.rope_theta == 10000);
  CHECK(config.rope_scaling.type == RopeScaling::Type::none);
  CHECK(config.sliding_window == 0);
  CHECK_FALSE(config.tie_word_embeddings);
  CHECK_FALSE(config.attention_bias);
  CHECK_FALSE(config.mlp_bias);
  CHECK_FALSE(config.qk_norm);
  CHECK(config.bos_token_id == 1);
  CHECK(config.eos_token_ids == std::vector<std::int32_t>{2});

  Json json = llama();
  json["model_type"] = "mistral";
  json["num_attention_heads"] = 32;
  json["head_dim"] = 8;
  config = parse(json);
  CHECK(config.num_key_value_heads == 8);
  CHECK(config.head_dim == 8);
  CHECK(config.sliding_window == 4096);
  CHECK(config.max_position_embeddings == 131072);
  json["sliding_window"] = nullptr;
  json["num_key_value_heads"] = nullptr;
  config = parse(json);
  CHECK(config.sliding_window == 0);
  CHECK(config.num_key_value_heads == 32);

  config = parse(qwen("qwen2"));
  CHECK(config.attention_bias);
  CHECK_FALSE(config.qk_norm);
  CHECK(config.head_dim == 16);
  CHECK(config.max_position_embeddings == 32768);
  CHECK(config.bos_token_id == -1);
  CHECK(config.eos_token_ids.empty());

  config = parse(qwen("qwen3"));
  CHECK_FALSE(config.attention_bias);
  CHECK(config.qk_norm);
  CHECK(config.head_dim == 128);
}

TEST_CASE("config: older and newer forms of the rotary embedding's parameters") {
  Json json = llama();
  json["rope_theta"] = 500000;
  json["rope_scaling"] = {{"type", "linear"}, {"factor", 4}};
  ModelConfig config = parse(json);
  CHECK(config.rope_theta == 500000);
  CHECK(config.rope_scaling.type == RopeScaling::Type::linear);
  CHECK(config.rope_scaling.factor == 4);

  json["rope_scaling"] = {{"rope_type", "llama3"},
                          {"factor", 8.0},
                          {"low_freq_factor", 1.0},
                          {"high_freq_factor", 4.0},
                          {"original_max_position_embeddings", 8192}};
  config = parse(json);
  CHECK(config.rope_scaling.type == RopeScaling::Type::llama3);
  CHECK(config.rope_scaling.original_max_position_embeddings == 8192);
  CHECK(config.rope_scaling.high_freq_factor == 4);

  json = llama();
  json["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 1e6}};
  config = parse(json);
  CHECK(config.rope_theta == 1e6);
  CHECK(config.rope_scaling.type == RopeScaling::Type::none);
  json["rope_scaling"] = nullptr;
  json["rope_theta"] = 5.0;  // the inner one wins
  CHECK(parse(json).rope_theta == 1e6);
}

TEST_CASE("config: end-of-text ids are one or several") {
  Json json = llama();
  json["eos_token_id"] = {5, 6};
  CHECK(parse(json).eos_token_ids == std::vector<std::int32_t>{5, 6});
  json["eos_token_id"] = nullptr;
  json["bos_token_id"] = nullptr;
  CHECK(parse(json).eos_token_ids.empty());
  CHECK(parse(json).bos_token_id == -1);
}

TEST_CASE("config: Qwen's sliding window holds in all layers or in none") {
  Json json = qwen("qwen2");
  json["sliding_window"] = 32;
  CHECK(parse(json).sliding_window == 0);
  json["use_sliding_window"] = true;
  CHECK(parse(json).sliding_window == 0);  // max_window_layers is 28: the two layers come before it
  json["max_window_layers"] = 0;
  CHECK(parse(json).sliding_window == 32);
  CHECK(contains(error_with(json, "max_window_layers", 1), "max_window_layers"));
  json["layer_types"] = {"full_attention", "full_attention"};
  CHECK(parse(json).sliding_window == 0);
  json["layer_types"] = {"sliding_attention", "sliding_attention"};
  CHECK(parse(json).sliding_window == 32);
  CHECK(contains(error_with(json, "layer_types", {"full_attention", "sliding_attention"}), "mix"));
  CHECK(contains(error_with(json, "layer_types", {"full_attention"}), "layer_types"));
  CHECK(contains(error_with(json, "layer_types", {"linear_attention", "linear_attention"}),
                 "linear_attention"));
}

TEST_CASE("config: what is not supported is refused by name") {
  Json bloom = {{"architectures", {"BloomForCausalLM"}}, {"model_type", "bloom"}};
  CHECK(
      contains(error_of(bloom.dump()), "architecture 'BloomForCausalLM' is not supported; supported: Llama"));
  CHECK(contains(error_of(bloom.dump()), "dir/config.json"));
  CHECK(contains(error_of(R"({"model_type":"gpt2"})"), "'gpt2'"));
  CHECK(contains(error_of("{}"), "model_type"));
  for (const char* head : {"SequenceClassification", "TokenClassification", "QuestionAnswering"}) {
    const std::string name = "LlamaFor" + std::string(head);
    CHECK(contains(error_with(llama(), "architectures", {name}),
                   "architecture '" + name + "' is not supported"));
  }
  Json nameless = llama();
  nameless.erase("model_type");
  CHECK(parse(nameless).model_type == "llama");

  CHECK(contains(error_with(llama(), "hidden_act", "gelu"), "'gelu'"));
  for (const char* type : {"yarn", "dynamic", "longrope", "mrope"}) {
    const Json scaling = {{"rope_type", type}, {"factor", 2.0}};
    CHECK(contains(error_with(llama(), "rope_scaling", scaling), type));
  }
  CHECK(contains(error_with(llama(), "partial_rotary_factor", 0.5), "partial_rotary_factor"));
  CHECK(contains(error_with(llama(), "rope_parameters", {{"partial_rotary_factor", 0.25}}),
                 "partial_rotary_factor"));
  CHECK(contains(error_with(llama(), "rope_parameters", {{"full_attention", Json::object()}}),
                 "differ between layers"));
  CHECK(contains(error_with(llama(), "quantization_config", {{"quant_method", "gptq"}}), "'gptq'"));
  CHECK(contains(error_with(qwen("qwen3"), "attention_bias", true), "attention_bias"));
}

TEST_CASE("config: sizes that do not fit are refused") {
  for (const char* key :
       {"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size"}) {
    CAPTURE(key);
    Json json = llama();
    json.erase(key);
    CHECK(contains(error_of(json.dump()), key));
    const std::vector<Json> wrong{
        0, -1, 1.5, "64", true, Json::array(), 9223372036854775807LL, 18446744073709551615ULL};
    for (const Json& value : wrong) CHECK(contains(error_with(llama(), key, value), key));
    CHECK(contains(error_with(llama(), key, 1e300), key));
  }
  for (const char* key : {"num_key_value_heads", "head_dim", "max_position_embeddings"}) {
    CAPTURE(key);
    for (const Json& value : std::vector<Json>{0, -4, "x", 4294967296LL, 18446744073709551615ULL}) {
      CHECK(contains(error_with(llama(), key, value), key));
    }
  }
  CHECK(contains(error_with(llama(), "num_key_value_heads", 3), "num_key_value_heads 3"));
  CHECK(contains(error_with(llama(), "head_dim", 15), "even"));
  CHECK(contains(error_with(llama(), "hidden_size", 66), "num_attention_heads 4"));
  Json wide = llama();
  wide["num_attention_heads"] = 16384;
  wide["num_key_value_heads"] = 1;
  CHECK(contains(error_with(wide, "head_dim", 16384), "head_dim"));
  for (const char* key : {"rms_norm_eps", "rope_theta"}) {
    for (const Json& value : std::vector<Json>{0, -1e-5, "1e-5", Json::object()}) {
      CHECK(contains(error_with(llama(), key, value), key));
    }
  }
  CHECK(contains(error_with(llama(), "rope_scaling", {{"type", "linear"}}), "factor"));
  CHECK(contains(error_with(llama(), "rope_scaling", {{"type", 7}, {"factor", 2}}), "type"));
  CHECK(contains(error_with(llama(), "rope_scaling", "linear"), "rope_scaling"));
  const Json crossed = {{"type", "llama3"}, {"factor", 8}, {"low_freq_factor", 4}, {"high_freq_factor", 4}};
  CHECK(contains(error_with(llama(), "rope_scaling", crossed), "high_freq_factor"));
  CHECK(contains(error_with(llama(), "bos_token_id", 384), "bos_token_id"));
  CHECK(contains(error_with(llama(), "eos_token_id", {1, 384}), "eos_token_id"));
  CHECK(contains(error_with(llama(), "eos_token_id", -2), "eos_token_id"));
}

TEST_CASE("config: text that is no JSON object is refused") {
  const std::string text = llama().dump();
  for (std::size_t length = 0; length < text.size(); ++length) {
    CHECK_THROWS_AS(parse_config(text.substr(0, length), "config.json"), std::runtime_error);
  }
  for (const char* bad : {"[]", "3", "null", "\"llama\"", "{\"model_type\":\"\xff\"}", "{\"a\":1,\"a\":2}"}) {
    CHECK_THROWS_AS(parse_config(bad, "config.json"), std::runtime_error);
  }
}

// Expected: LlamaRotaryEmbedding(config).inv_freq of transformers 5.23.
TEST_CASE("config: inverse frequencies of the rotary embedding") {
  const auto check = [](const ModelConfig& config, const std::vector<float>& expected) {
    const std::vector<float> found = rope_inverse_frequency(config);
    REQUIRE(found.size() == expected.size());
    for (std::size_t i = 0; i < expected.size(); ++i) {
      CAPTURE(i);
      CHECK(std::abs(found[i] - expected[i]) <= 4e-7F * expected[i]);  // a few roundings to f32
    }
  };
  ModelConfig config;
  config.head_dim = 16;
  check(config, {1.0F, 0.3162277638912201F, 0.10000000149011612F, 0.03162277862429619F, 0.009999999776482582F,
                 0.003162277862429619F, 0.0010000000474974513F, 0.0003162277862429619F});

  config.head_dim = 12;
  config.rope_scaling.type = RopeScaling::Type::linear;
  config.rope_scaling.factor = 3;
  check(config, {0.3333333432674408F, 0.07181448489427567F, 0.015471961349248886F, 0.003333333181217313F,
                 0.0007181447581388056F, 0.00015471964434254915F});

  config.head_dim = 64;
  config.rope_theta = 500000;
  config.rope_scaling = {RopeScaling::Type::llama3, 32, 1, 4, 8192};
  check(config, {1.0F,
                 0.663601279258728F,
                 0.44036662578582764F,
                 0.2922278344631195F,
                 0.193922758102417F,
                 0.12868738174438477F,
                 0.08539710193872452F,
                 0.05666961893439293F,
                 0.03760603070259094F,
                 0.02495540864765644F,
                 0.016560440883040428F,
                 0.010989529080688953F,
                 0.00729266507551074F,
                 0.00483942124992609F,
                 0.0032114461064338684F,
                 0.0012905480107292533F,
                 0.000429556705057621F,
                 9.708286233944818e-05F,
                 1.9461638657958247e-05F,
                 1.291476746700937e-05F,
                 8.570255886297673e-06F,
                 5.687232260243036e-06F,
                 3.7740544485131977e-06F,
                 2.504467147446121e-06F,
                 1.6619674170215148e-06F,
                 1.1028836297555245e-06F,
                 7.318749339901842e-07F,
                 4.856731266045244e-07F,
                 3.2229328894572973e-07F,
                 2.1387423032592778e-07F,
                 1.4192720243499934e-07F,
                 9.418306490260875e-08F});
}

TEST_CASE("config: files written by transformers 4 and 5") {
  const auto golden = test_data("golden");
  if (!golden) return;
  const auto read = [&](const std::string& name) {
    return parse_config(read_bytes(*golden / name / "config.json"), name);
  };
  CHECK(read("llama-mha").rope_scaling.type == RopeScaling::Type::none);  // has rope_parameters
  CHECK(read("llama-ragged").head_dim == 12);
  CHECK(read("llama-linear-rope").rope_scaling.factor == 4);
  CHECK(read("llama-gqa-llama3rope-tied").rope_scaling.original_max_position_embeddings == 32);
  CHECK(read("llama-gqa-llama3rope-tied").tie_word_embeddings);
  CHECK(read("mistral-sliding").sliding_window == 16);
  CHECK(read("qwen2").attention_bias);
  CHECK(read("qwen2").sliding_window == 0);
  CHECK(read("qwen3").head_dim == 32);
}
