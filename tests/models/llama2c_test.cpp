#include <doctest/doctest.h>

#include <cmath>

#include "models/config.h"
#include "models/llama2c_checkpoint.h"
#include "tests/models/files.h"
#include "tests/test_data.h"

using namespace spqr;

namespace {

const std::filesystem::path kFixtures = std::filesystem::path(SPQR_FIXTURES) / "llama2c";

std::string open_error(const std::string& bytes) {
  const std::vector<char> copy(bytes.begin(), bytes.end());
  return message_of([&] { make_llama2c_checkpoint(std::as_bytes(std::span(copy)), "x.bin", {}); });
}

// Opens the bytes, and reads everything where that succeeds.
void read_all(const std::string& bytes) {
  const std::vector<char> copy(bytes.begin(), bytes.end());
  try {
    const auto checkpoint = make_llama2c_checkpoint(std::as_bytes(std::span(copy)), "x.bin", {});
    for (const CheckpointTensor& tensor : checkpoint->tensors()) checkpoint->read(tensor.name);
  } catch (const std::runtime_error&) {
  }
}

struct Expected {
  std::string name;
  std::vector<std::pair<std::size_t, float>> elements;  // index in row-major order, value
  double sum_of_magnitudes;
};

void check(const Checkpoint& checkpoint, const std::vector<Expected>& tensors) {
  for (const Expected& expected : tensors) {
    CAPTURE(expected.name);
    const std::vector<float> found = checkpoint.read(expected.name);
    for (const auto& [index, value] : expected.elements) CHECK(found.at(index) == value);
    double sum = 0;
    for (const float value : found) sum += std::abs(static_cast<double>(value));
    CHECK(sum == doctest::Approx(expected.sum_of_magnitudes).epsilon(1e-12));
  }
}

const std::string kLayer = "model.layers.0.";

// dim 4, hidden 6, 1 layer, 2 heads, 1 key-value head, vocabulary 3, context 5: floats counting up from 0.
std::string legacy(std::int32_t vocab) {
  std::string bytes;
  for (const std::int32_t value : {4, 6, 1, 2, 1, vocab, 5}) bytes += bytes_of(value);
  const int floats = 3 * 4 + 4 + 16 + 8 + 8 + 16 + 4 + 24 + 24 + 24 + 4 + 5 * 2 + (vocab < 0 ? 12 : 0);
  for (int i = 0; i < floats; ++i) bytes += bytes_of(static_cast<float>(i));
  return bytes;
}

// The same shape in version 2 with groups of 2: values counting up modulo 100, all scales 0.5.
std::string version_2(bool shared, std::int32_t group_size = 2) {
  std::string bytes = bytes_of(0x616b3432U) + bytes_of(2);
  for (const std::int32_t value : {4, 6, 1, 2, 1, 3, 5}) bytes += bytes_of(value);
  bytes += bytes_of(static_cast<std::uint8_t>(shared)) + bytes_of(group_size);
  bytes.resize(256, '\0');
  for (int i = 0; i < 12; ++i) bytes += bytes_of(static_cast<float>(i));
  int count = 0;
  const std::vector<int> sizes{12, 16, 8, 8, 16, 24, 24, 24};
  for (std::size_t t = 0; t < sizes.size() + (shared ? 0 : 1); ++t) {
    const int size = t < sizes.size() ? sizes[t] : 12;
    for (int i = 0; i < size; ++i) bytes += static_cast<char>(count++ % 100 - 50);
    for (int i = 0; i < size / 2; ++i) bytes += bytes_of(0.5F);
  }
  return bytes;
}

}  // namespace

// Expected values: the file read with numpy in the order of llama2.c's export.py.
TEST_CASE("llama2.c: a trained legacy checkpoint") {
  CheckpointOptions options;
  options.tokenizer = kFixtures / "tok512.bin";
  const auto checkpoint = open_checkpoint(kFixtures / "stories260K.bin", options);
  CHECK(checkpoint->format() == "llama2.c");
  CHECK(checkpoint->tokenizer_files().size() == 1);
  CHECK(checkpoint->tokenizer_files().contains("tokenizer.bin"));
  CHECK(checkpoint->tensors().size() == 2 + 5 * 9 + 1);
  check(*checkpoint,
        {{"model.embed_tokens.weight",
          {{5 * 64 + 7, 0.025506390258669853F}, {511 * 64 + 63, -0.424032598733902F}},
          7820.582960873879},
         {"model.layers.4.self_attn.q_proj.weight",
          {{0, -0.005776987876743078F},
           {64 + 2, -0.0048658037558197975F},
           {9 * 64 + 3, 0.11036788672208786F},
           {4095, -0.18901382386684418F}},
          489.1064066613885},
         {"model.layers.2.self_attn.k_proj.weight",
          {{0, 0.05322672799229622F},
           {64 + 2, -0.09074369072914124F},
           {14 * 64 + 3, -0.05191299691796303F},
           {2047, 0.018669389188289642F}},
          264.4030376312003},
         {"model.layers.2.self_attn.v_proj.weight",
          {{64 + 2, -0.1009039357304573F}, {2047, 0.0940697193145752F}},
          96.40286988153912},
         {"model.layers.0.self_attn.o_proj.weight", {{3 * 64 + 4, 0.021991416811943054F}}, 189.5137755931828},
         {"model.layers.3.mlp.gate_proj.weight", {{172 * 64 - 1, 0.07544902712106705F}}, 1077.2788797885241},
         {"model.layers.3.mlp.down_proj.weight", {{172 * 64 - 1, -0.0631706714630127F}}, 1130.66619573139},
         {"model.layers.4.mlp.up_proj.weight", {{7 * 64 + 9, -0.14984257519245148F}}, 1173.0798801956457},
         {"model.layers.1.input_layernorm.weight", {{1, 0.8364030122756958F}}, 79.2968817949295},
         {"model.layers.4.post_attention_layernorm.weight", {{1, 0.9257742166519165F}}, 66.58364748954773},
         {"model.norm.weight", {{0, 2.4583089351654053F}, {63, 1.7077769041061401F}}, 115.95276230573654}});
  CHECK(checkpoint->read("lm_head.weight") == checkpoint->read("model.embed_tokens.weight"));

  const ModelConfig config = parse_config(checkpoint->config_json(), "stories260K.bin");
  CHECK(config.model_type == "llama");
  CHECK(config.hidden_size == 64);
  CHECK(config.intermediate_size == 172);
  CHECK(config.num_hidden_layers == 5);
  CHECK(config.num_attention_heads == 8);
  CHECK(config.num_key_value_heads == 4);
  CHECK(config.vocab_size == 512);
  CHECK(config.max_position_embeddings == 512);
  CHECK(config.rms_norm_eps == 1e-5);
  CHECK(config.rope_theta == 10000);
  CHECK(config.tie_word_embeddings);
}

TEST_CASE("llama2.c: a trained version 2 checkpoint") {
  const auto path = test_data("llama2c/stories3M-q80.bin");
  if (!path) return;
  const auto checkpoint = open_checkpoint(*path, {});
  CHECK(checkpoint->tokenizer_files().empty());
  check(
      *checkpoint,
      {{"model.embed_tokens.weight",
        {{5 * 192 + 7, 0.027283238247036934F}, {4096 * 192 - 1, 0.03272908180952072F}},
        22154.738379061484},
       {"model.layers.5.self_attn.q_proj.weight",
        {{192 + 2, 0.009877781383693218F}, {192 * 192 - 1, 0.025192681699991226F}},
        1045.4475139326241},
       {"model.layers.1.self_attn.k_proj.weight",
        {{192 + 2, -0.0008238658774644136F}, {63 * 192, 0.05375874415040016F}},
        500.7505808834685},
       {"model.layers.0.mlp.down_proj.weight", {{192 * 512 - 1, 0.014336436986923218F}}, 2078.2778621204197},
       {"model.layers.5.mlp.up_proj.weight", {{192 * 512 - 1, -0.02326110191643238F}}, 2254.1652740663267},
       {"model.layers.5.post_attention_layernorm.weight", {{0, 1.8398170471191406F}}, 353.45842576026917},
       {"model.norm.weight", {{0, 7.021934986114502F}}, 1412.0079219341278}});
}

TEST_CASE("llama2.c: order of tensors and rows, with a shared and a separate head") {
  for (const std::int32_t vocab : {3, -3}) {
    const std::string bytes = legacy(vocab);
    const auto checkpoint = make_llama2c_checkpoint(std::as_bytes(std::span(bytes)), "x.bin", {});
    CHECK(checkpoint->read(kLayer + "input_layernorm.weight") == std::vector<float>{12, 13, 14, 15});
    // Heads of two rows: the pair (0, 1) of each head is in the same order either way.
    CHECK(checkpoint->read(kLayer + "self_attn.q_proj.weight").front() == 16);
    CHECK(checkpoint->find(kLayer + "self_attn.k_proj.weight")->shape == std::vector<std::int64_t>{2, 4});
    CHECK(checkpoint->find(kLayer + "mlp.down_proj.weight")->shape == std::vector<std::int64_t>{4, 6});
    CHECK(checkpoint->read("model.norm.weight").front() == 140);
    CHECK(checkpoint->read("lm_head.weight").front() == (vocab < 0 ? 154 : 0));
    CHECK(parse_config(checkpoint->config_json(), "x.bin").tie_word_embeddings == (vocab > 0));
  }
  for (const bool shared : {true, false}) {
    const std::string bytes = version_2(shared);
    const auto checkpoint = make_llama2c_checkpoint(std::as_bytes(std::span(bytes)), "x.bin", {});
    CHECK(checkpoint->read("model.norm.weight") == std::vector<float>{8, 9, 10, 11});
    CHECK(checkpoint->read("model.embed_tokens.weight").front() == -25);
    CHECK(checkpoint->read(kLayer + "self_attn.v_proj.weight").front() == (36 - 50) * 0.5F);
    CHECK(checkpoint->read("lm_head.weight").front() == (shared ? -25 : (132 - 100 - 50) * 0.5F));
    CHECK(checkpoint->find("model.embed_tokens.weight")->stored_as == "I8, groups of 2");
  }
}

TEST_CASE("llama2.c: the size of the file has to follow from its header") {
  for (const std::string& bytes : {legacy(3), legacy(-3), version_2(true), version_2(false)}) {
    CHECK(open_error(bytes) == "no error");
    for (std::size_t length = 0; length < bytes.size(); ++length) {
      CHECK(open_error(bytes.substr(0, length)) != "no error");
    }
    CHECK(contains(open_error(bytes + "x"), "1 bytes are left"));
  }
}

TEST_CASE("llama2.c: headers that cannot be are refused") {
  for (std::size_t field = 0; field < 7; ++field) {
    for (const std::int32_t value : {0, -1, 7, 1 << 20, 0x7fffffff, static_cast<std::int32_t>(0x80000000U)}) {
      CAPTURE(field);
      CAPTURE(value);
      std::string bytes = legacy(3);
      bytes.replace(field * 4, 4, bytes_of(value));
      CHECK(open_error(bytes) != "no error");
      bytes = version_2(true);
      bytes.replace(8 + field * 4, 4, bytes_of(value));
      // The context's length is in no tensor's shape there.
      const bool any_will_do = field == 6 && value > 0;
      CHECK((open_error(bytes) == "no error") == any_will_do);
    }
  }
  std::string all_large;
  for (int i = 0; i < 7; ++i) all_large += bytes_of(1 << 14);
  CHECK(open_error(all_large + std::string(1000, '\0')) != "no error");

  std::string bytes = version_2(true);
  CHECK(contains(open_error(bytes.replace(4, 4, bytes_of(1))), "version 1 is not supported"));
  bytes = version_2(true);
  CHECK(contains(open_error(bytes.replace(36, 1, "\2")), "shared_classifier"));
  for (const std::int32_t group : {0, -1, static_cast<std::int32_t>(0x80000000U)}) {
    CHECK(contains(open_error(version_2(true, group)), "group_size"));
  }
  CHECK(contains(open_error(version_2(true, 5)), "no multiple of group_size"));
}

TEST_CASE("llama2.c: no changed byte of the header does more than throw") {
  for (const std::string& bytes : {legacy(3), version_2(false)}) {
    for (std::size_t i = 0; i < 48; ++i) {
      for (int value = 0; value < 256; ++value) {
        std::string changed = bytes;
        changed[i] = static_cast<char>(value);
        read_all(changed);
      }
    }
  }
}

TEST_CASE("files that are no model are told apart") {
  TemporaryDirectory directory;
  const auto error_of = [&](const std::string& bytes) {
    const auto path = directory.write("model", bytes);
    return message_of([&] { open_checkpoint(path, {}); });
  };
  CHECK(contains(error_of("PK\x03\x04" + std::string(100, 'x')), "a PyTorch file"));
  CHECK(contains(error_of(bytes_of<std::uint64_t>(40) + "{\"a\":1}" + std::string(100, 'x')),
                 "a safetensors file"));
  CHECK(contains(error_of("tjgg" + std::string(100, '\0')), "before GGUF"));
  CHECK(contains(error_of("This is a text that somebody took for a model."),
                 "neither a Hugging Face directory nor GGUF"));
  CHECK(contains(error_of(""), "too few"));
  CHECK(contains(error_of("GGUF"), "incomplete download"));
}
