#include "models/gguf_checkpoint.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <limits>
#include <numbers>

#include "kernels/half.h"
#include "models/config.h"
#include "tests/models/gguf_builder.h"

using namespace spqr;
using namespace spqr::gguf;
using Json = nlohmann::json;

namespace {

constexpr const char* kModels[] = {"llama", "qwen2", "qwen3", "falcon-7b", "falcon-40b", "falcon2-11b"};
const std::filesystem::path kFixtures = std::filesystem::path(SPQR_FIXTURES) / "gguf";

// The metadata and tensors of a one-layer LLaMA whose weights are zeros; `edit` changes it before it is
// opened.
std::unique_ptr<Checkpoint> open_llama(const std::function<void(Builder&)>& edit) {
  Builder builder;
  builder.values = {{"general.architecture", text("llama")},
                    {"llama.block_count", u32(1)},
                    {"llama.context_length", u32(131072)},
                    {"llama.embedding_length", u32(128)},
                    {"llama.feed_forward_length", u32(32)},
                    {"llama.attention.head_count", u32(2)},
                    {"llama.attention.layer_norm_rms_epsilon", f32(1e-5F)},
                    {"llama.rope.freq_base", f32(500000)}};
  builder.tensors = {{"token_embd.weight", {128, 4}, 0, 0}};
  builder.data = std::string(128 * 4 * 4, '\0');
  edit(builder);
  // The checkpoint's views outlive this call, never the test: keep the bytes with it.
  static std::vector<std::unique_ptr<std::string>> kept;
  kept.push_back(std::make_unique<std::string>(builder.bytes()));
  return make_gguf_checkpoint(GgufFile::parse(span_of(*kept.back()), "x.gguf"), "x.gguf", {});
}

std::string llama_error(const std::function<void(Builder&)>& edit) {
  return message_of([&] { open_llama(edit); });
}

// As Hugging Face's converter writes rope_freqs.weight for a head of 64.
std::string frequency_factors(double factor, double low, double high, double original) {
  std::string bytes;
  for (int i = 0; i < 32; ++i) {
    const double wavelength = 2 * std::numbers::pi * std::pow(500000.0, i / 32.0);
    const double smooth = (original / wavelength - low) / (high - low);
    double value = 1 / ((1 - smooth) / factor + smooth);
    if (wavelength < original / high) value = 1;
    if (wavelength > original / low) value = factor;
    bytes += bytes_of(static_cast<float>(value));
  }
  return bytes;
}

void add_frequency_factors(Builder& builder, const std::string& factors) {
  builder.tensors.push_back({"rope_freqs.weight", {32}, 0, builder.data.size()});
  builder.data += factors;
}

}  // namespace

// The fixtures come from gguf-py: its quantization, its dequantization, its converter's permutation.
TEST_CASE("GGUF: every element type and architecture equals the Hugging Face directory it stands for") {
  for (const char* name : kModels) {
    CAPTURE(name);
    const auto gguf = open_checkpoint(kFixtures / (std::string(name) + ".gguf"), {});
    const auto expected = open_checkpoint(kFixtures / name, {});
    CHECK(gguf->format() == "GGUF");
    CHECK(gguf->tensors().size() == expected->tensors().size());
    for (const CheckpointTensor& tensor : expected->tensors()) {
      CAPTURE(tensor.name);
      REQUIRE(gguf->find(tensor.name) != nullptr);
      CHECK(gguf->find(tensor.name)->shape == tensor.shape);
      CHECK(gguf->read(tensor.name) == expected->read(tensor.name));
    }
  }
  CHECK(open_checkpoint(kFixtures / "llama.gguf", {})
            ->find("model.layers.0.self_attn.k_proj.weight")
            ->stored_as == "Q4_1");
}

TEST_CASE("GGUF: the metadata says what config.json says") {
  for (const char* name : kModels) {
    CAPTURE(name);
    const ModelConfig found =
        parse_config(open_checkpoint(kFixtures / (std::string(name) + ".gguf"), {})->config_json(), name);
    const ModelConfig expected = parse_config(open_checkpoint(kFixtures / name, {})->config_json(), name);
    CHECK(found.model_type == expected.model_type);
    CHECK(found.hidden_size == expected.hidden_size);
    CHECK(found.intermediate_size == expected.intermediate_size);
    CHECK(found.num_hidden_layers == expected.num_hidden_layers);
    CHECK(found.num_attention_heads == expected.num_attention_heads);
    CHECK(found.num_key_value_heads == expected.num_key_value_heads);
    CHECK(found.head_dim == expected.head_dim);
    CHECK(found.vocab_size == expected.vocab_size);
    CHECK(found.max_position_embeddings == expected.max_position_embeddings);
    CHECK(static_cast<float>(found.rms_norm_eps) == static_cast<float>(expected.rms_norm_eps));
    CHECK(found.rope_theta == expected.rope_theta);
    CHECK(found.tie_word_embeddings == expected.tie_word_embeddings);
    CHECK(found.attention_bias == expected.attention_bias);
    CHECK(found.qk_norm == expected.qk_norm);
    CHECK(static_cast<float>(found.layer_norm_epsilon) == static_cast<float>(expected.layer_norm_epsilon));
    CHECK(found.parallel_attn == expected.parallel_attn);
    CHECK(found.num_ln_in_parallel_attn == expected.num_ln_in_parallel_attn);
    CHECK(found.bos_token_id == expected.bos_token_id);
    CHECK(found.eos_token_ids == expected.eos_token_ids);
    CHECK(found.rope_scaling.type == expected.rope_scaling.type);
    CHECK(rope_inverse_frequency(found) == rope_inverse_frequency(expected));
  }
}

TEST_CASE("GGUF: the tokenizer's metadata is one JSON object") {
  const auto checkpoint = open_checkpoint(kFixtures / "llama.gguf", {});
  REQUIRE(checkpoint->tokenizer_files().contains("gguf_tokenizer.json"));
  const Json tokenizer = Json::parse(checkpoint->tokenizer_files().find("gguf_tokenizer.json")->second);
  CHECK(tokenizer["tokenizer.ggml.model"] == "llama");
  CHECK(tokenizer["tokenizer.ggml.tokens"].size() == 24);
  CHECK(tokenizer["tokenizer.ggml.tokens"][3] == "é");
  CHECK(tokenizer["tokenizer.ggml.scores"][5] == -1.25);
  CHECK(tokenizer["tokenizer.ggml.token_type"][1] == 3);
  CHECK(tokenizer["tokenizer.ggml.bos_token_id"] == 1);
  CHECK(tokenizer["tokenizer.ggml.add_bos_token"] == true);
  CHECK(tokenizer["tokenizer.chat_template"] == "{{ messages }}");
  CHECK_FALSE(tokenizer.contains("general.architecture"));
}

TEST_CASE("GGUF: models that are not supported are refused by name") {
  CHECK(contains(llama_error([](Builder& b) { b.set("general.architecture", text("bloom")); }),
                 "architecture 'bloom' is not supported; supported in GGUF: llama"));
  CHECK(
      contains(llama_error([](Builder& b) { b.set("llama.expert_count", u32(8)); }), "mixtures of experts"));
  CHECK(contains(llama_error([](Builder& b) { b.set("llama.rope.scaling.type", text("yarn")); }), "'yarn'"));
  CHECK(contains(llama_error([](Builder& b) { b.set("llama.rope.dimension_count", u32(32)); }),
                 "dimension_count 32"));
  CHECK(contains(llama_error([](Builder& b) { b.tensors[0].name = "blk.0.attn_q.weight"; }),
                 "token_embd.weight"));
  CHECK(contains(llama_error([](Builder& b) {
                   b.tensors.push_back({"blk.0.ffn_gate_inp.weight", {4}, 0, b.data.size()});
                   b.data += std::string(16, '\0');
                 }),
                 "blk.0.ffn_gate_inp.weight"));
}

TEST_CASE("GGUF: RoPE scaling, also where only rope_freqs.weight tells of it") {
  const auto config_with = [](const std::function<void(Builder&)>& edit) {
    return parse_config(open_llama(edit)->config_json(), "x.gguf");
  };
  ModelConfig config = config_with([](Builder& b) {
    b.set("llama.rope.scaling.type", text("linear"));
    b.set("llama.rope.scaling.factor", f32(4));
  });
  CHECK(config.rope_scaling.type == RopeScaling::Type::linear);
  CHECK(config.rope_scaling.factor == 4);
  CHECK(config_with([](Builder& b) { b.set("llama.rope.scaling.type", text("none")); }).rope_scaling.type ==
        RopeScaling::Type::none);

  for (const double original : {8192.0, 4096.0, 1000.0}) {
    config =
        config_with([&](Builder& b) { add_frequency_factors(b, frequency_factors(32, 1, 4, original)); });
    CHECK(config.rope_scaling.type == RopeScaling::Type::llama3);
    CHECK(config.rope_scaling.factor == 32);
    CHECK(config.rope_scaling.high_freq_factor == 4);
    CHECK(config.rope_scaling.original_max_position_embeddings == doctest::Approx(original).epsilon(1e-3));
  }
  config = config_with([](Builder& b) { add_frequency_factors(b, frequency_factors(32, 2, 5, 8192)); });
  CHECK(config.rope_scaling.high_freq_factor == doctest::Approx(2.5).epsilon(1e-3));
  CHECK(config.rope_scaling.original_max_position_embeddings == doctest::Approx(4096).epsilon(1e-3));

  std::string ones;
  std::string ramp;
  for (int i = 0; i < 32; ++i) {
    ones += bytes_of(1.0F);
    ramp += bytes_of(1.0F + static_cast<float>(i));
  }
  CHECK(config_with([&](Builder& b) { add_frequency_factors(b, ones); }).rope_scaling.type ==
        RopeScaling::Type::none);
  for (const std::string& bad :
       {ramp, std::string(128, '\0'), std::string(128, '\xff'), ones.substr(4) + bytes_of(9e30F)}) {
    CHECK(contains(llama_error([&](Builder& b) { add_frequency_factors(b, bad); }), "rope_freqs.weight"));
  }
}

TEST_CASE("GGUF: a llama file with a sliding window is a Mistral") {
  const ModelConfig config = parse_config(
      open_llama([](Builder& b) { b.set("llama.attention.sliding_window", u32(4096)); })->config_json(),
      "x.gguf");
  CHECK(config.model_type == "mistral");
  CHECK(config.sliding_window == 4096);
  CHECK(config.num_key_value_heads == 2);
  CHECK(config.bos_token_id == -1);
  CHECK(config.eos_token_ids.empty());
}

TEST_CASE("GGUF: metadata of the wrong kind or out of range is refused") {
  for (const char* key :
       {"llama.block_count", "llama.context_length", "llama.embedding_length", "llama.feed_forward_length",
        "llama.attention.head_count", "llama.attention.head_count_kv"}) {
    CAPTURE(key);
    for (const std::string& bad :
         {text("1"), i32(-1), f32(1), u32(0), u32(0xffffffffU), bytes_of(10U) + bytes_of(~std::uint64_t{0}),
          bytes_of(9U) + bytes_of(4U) + bytes_of<std::uint64_t>(1) + bytes_of(1U)}) {
      CHECK(llama_error([&](Builder& b) { b.set(key, bad); }) != "no error");
    }
  }
  for (const char* key : {"llama.attention.layer_norm_rms_epsilon", "llama.rope.freq_base"}) {
    for (const std::string& bad : {text("1"), f32(0), f32(-1), f32(std::numeric_limits<float>::infinity()),
                                   f32(std::numeric_limits<float>::quiet_NaN())}) {
      CHECK(llama_error([&](Builder& b) { b.set(key, bad); }) != "no error");
    }
  }
  CHECK(llama_error([](Builder& b) { b.set("tokenizer.ggml.bos_token_id", u32(4)); }) != "no error");
  CHECK(llama_error([](Builder& b) { b.set("tokenizer.ggml.bos_token_id", u32(0xffffffffU)); }) ==
        "no error");
  CHECK(llama_error([](Builder& b) { b.set("tokenizer.ggml.tokens", u32(4)); }) != "no error");
  CHECK(llama_error([](Builder& b) { b.set("general.architecture", u32(4)); }) != "no error");
  CHECK(llama_error([](Builder& b) { b.values.erase(b.values.begin()); }) != "no error");
  CHECK(contains(llama_error([](Builder& b) {
                   b.tensors.push_back({"blk.0.attn_q.weight", {128, 63}, 0, b.data.size()});
                   b.data += std::string(128 * 63 * 4, '\0');
                 }),
                 "63 rows"));
}

// SPQR_TEST_SMOLLM2_GGUF: the GGUF file; SPQR_TEST_SMOLLM2: the directory that scripts/smollm2_to_hf.py makes
// of it.
TEST_CASE("GGUF: SmolLM2-135M-Instruct equals its Hugging Face form") {
  const char* gguf_path = std::getenv("SPQR_TEST_SMOLLM2_GGUF");
  const char* directory = std::getenv("SPQR_TEST_SMOLLM2");
  if (gguf_path == nullptr || directory == nullptr) {
    std::cout << "skipped: needs SPQR_TEST_SMOLLM2_GGUF and SPQR_TEST_SMOLLM2\n";
    return;
  }
  const auto gguf = open_checkpoint(gguf_path, {});
  const auto expected = open_checkpoint(directory, {});
  REQUIRE(gguf->tensors().size() == expected->tensors().size());
  for (const CheckpointTensor& tensor : expected->tensors()) {
    CAPTURE(tensor.name);
    std::vector<float> values = gguf->read(tensor.name);
    for (float& value : values) value = round_to_f16(value);
    CHECK(values == expected->read(tensor.name));
  }
  const ModelConfig config = parse_config(gguf->config_json(), gguf_path);
  CHECK(config.rope_theta == 100000);
  CHECK(config.num_key_value_heads == 3);
  CHECK(config.vocab_size == 49152);
  CHECK(config.tie_word_embeddings);
  CHECK(config.eos_token_ids == std::vector<std::int32_t>{2});
}
