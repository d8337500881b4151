#include "models/hf_checkpoint.h"

#include <doctest/doctest.h>

#include <sys/socket.h>
#include <sys/un.h>

#include "models/config.h"
#include "models/tokenizer_files.h"
#include "tests/models/files.h"
#include "tests/test_data.h"

using namespace spqr;
using Json = nlohmann::json;

namespace {

Json tiny_config(bool tied) {
  return {{"model_type", "llama"},      {"hidden_size", 4},         {"intermediate_size", 8},
          {"num_hidden_layers", 1},     {"num_attention_heads", 2}, {"vocab_size", 3},
          {"tie_word_embeddings", tied}};
}

// -2, 0.5, 1, 65504 / 1e-7-ish, as the bytes of each type (numpy's float16, float32; bf16 by hand).
const std::string kHalves = bytes_of<std::uint16_t>(0xc000) + bytes_of<std::uint16_t>(0x3800) +
                            bytes_of<std::uint16_t>(0x3c00) + bytes_of<std::uint16_t>(0x7bff);
const std::string kBrains = bytes_of<std::uint16_t>(0xc000) + bytes_of<std::uint16_t>(0x3f00) +
                            bytes_of<std::uint16_t>(0x3f80) + bytes_of<std::uint16_t>(0x4780);
const std::string kFloats = bytes_of(-2.0F) + bytes_of(0.5F) + bytes_of(1.0F) + bytes_of(65504.0F);

std::string open_error(const TemporaryDirectory& directory, const CheckpointOptions& options = {}) {
  return message_of([&] { open_checkpoint(directory.path(), options); });
}

}  // namespace

TEST_CASE("Hugging Face directory: F32, F16 and BF16 become f32, at any alignment") {
  TemporaryDirectory directory;
  directory.write("config.json", tiny_config(false).dump());
  directory.write(
      "model.safetensors",
      safetensors_bytes({{"a.weight", "F32", {2, 2}, kFloats},
                         {"odd.weight", "U8", {0}, ""},
                         {"b.weight", "F16", {4}, kHalves},
                         {"c.weight", "BF16", {1, 4}, kBrains},
                         {"model.layers.0.self_attn.rotary_emb.inv_freq", "F64", {1}, bytes_of(1.0)}}));
  CHECK(contains(open_error(directory), "odd"));
  for (std::size_t padding = 1; padding <= 4; ++padding) {
    // A longer name moves the data to another address.
    directory.write(
        "model.safetensors",
        safetensors_bytes({{"a.weight", "F32", {2, 2}, kFloats},
                           {"b.weight", "F16", {4}, kHalves},
                           {std::string(padding, 'c'), "BF16", {1, 4}, kBrains},
                           {"model.layers.0.self_attn.rotary_emb.inv_freq", "F64", {1}, bytes_of(1.0)},
                           {"model.position_ids", "I64", {1}, bytes_of(1.0)},
                           {"model.layers.0.self_attn.mask", "BOOL", {1}, "1"}}));
    const auto checkpoint = open_checkpoint(directory.path(), {});
    CHECK(checkpoint->format() == "safetensors");
    CHECK(checkpoint->tensors().size() == 3);
    CHECK(checkpoint->read("a.weight") == std::vector<float>{-2, 0.5, 1, 65504});
    CHECK(checkpoint->read("b.weight") == std::vector<float>{-2, 0.5, 1, 65504});
    CHECK(checkpoint->read(std::string(padding, 'c')) == std::vector<float>{-2, 0.5, 1, 65536});
    REQUIRE(checkpoint->find("a.weight") != nullptr);
    CHECK(checkpoint->find("a.weight")->shape == std::vector<std::int64_t>{2, 2});
    CHECK(checkpoint->find("a.weight")->stored_as == "F32");
    CHECK(checkpoint->find("model.layers.0.self_attn.rotary_emb.inv_freq") == nullptr);
    CHECK(checkpoint->config_json() == tiny_config(false).dump());
    CHECK(checkpoint->tokenizer_files().empty());
    CHECK(contains(message_of([&] { checkpoint->read("nothing"); }), "nothing"));
  }
}

TEST_CASE("Hugging Face directory: other element types are refused by name") {
  TemporaryDirectory directory;
  directory.write("config.json", tiny_config(false).dump());
  directory.write("model.safetensors", safetensors_bytes({{"w.weight", "I8", {4}, "abcd"}}));
  CHECK(contains(open_error(directory), "tensor w.weight is stored as I8"));
}

TEST_CASE("Hugging Face directory: a tied embedding has both names, whichever is stored") {
  const std::string embedding = kFloats + kFloats + kFloats;
  for (const char* stored : {"model.embed_tokens.weight", "lm_head.weight"}) {
    TemporaryDirectory directory;
    directory.write("model.safetensors", safetensors_bytes({{stored, "F32", {3, 4}, embedding}}));
    directory.write("config.json", tiny_config(true).dump());
    auto checkpoint = open_checkpoint(directory.path(), {});
    CHECK(checkpoint->tensors().size() == 2);
    CHECK(checkpoint->read("model.embed_tokens.weight") == checkpoint->read("lm_head.weight"));
    REQUIRE(checkpoint->find("lm_head.weight") != nullptr);
    CHECK(checkpoint->find("lm_head.weight")->shape == std::vector<std::int64_t>{3, 4});
    directory.write("config.json", tiny_config(false).dump());
    CHECK(open_checkpoint(directory.path(), {})->tensors().size() == 1);
  }
}

TEST_CASE("Hugging Face directory: shards") {
  TemporaryDirectory directory;
  directory.write("config.json", tiny_config(false).dump());
  const std::string one = safetensors_bytes({{"a", "F32", {4}, kFloats}, {"unused", "I8", {1}, "x"}});
  const std::string two = safetensors_bytes({{"b", "F16", {4}, kHalves}});
  directory.write("one.safetensors", one);
  directory.write("two.safetensors", two);
  const auto write_index = [&](const Json& map) {
    directory.write("model.safetensors.index.json", Json{{"metadata", {}}, {"weight_map", map}}.dump());
  };
  write_index({{"a", "one.safetensors"}, {"b", "two.safetensors"}});
  const auto checkpoint = open_checkpoint(directory.path(), {});
  CHECK(checkpoint->tensors().size() == 2);
  CHECK(checkpoint->read("a") == checkpoint->read("b"));

  write_index({{"a", "one.safetensors"}, {"b", "one.safetensors"}});
  CHECK(contains(open_error(directory), "has no tensor b"));
  write_index({{"a", "one.safetensors"}, {"b", "three.safetensors"}});
  CHECK(contains(open_error(directory), "three.safetensors is missing"));
  TemporaryDirectory elsewhere;
  elsewhere.write("two.safetensors", two);
  for (const std::string& escape :
       {"../" + elsewhere.path().filename().string() + "/two.safetensors",
        (elsewhere.path() / "two.safetensors").string(), std::string("./two.safetensors"), std::string(".."),
        std::string(), std::string("a\\two.safetensors"), std::string("config.json"),
        std::string("two.safetensors\0.safetensors", 28)}) {
    write_index({{"a", "one.safetensors"}, {"b", escape}});
    CHECK(contains(open_error(directory), "is not the name of a .safetensors file"));
  }
  for (const Json& map : std::vector<Json>{Json::array(), 3, nullptr, {{"a", 3}}}) {
    write_index(map);
    CHECK(open_error(directory) != "no error");
  }
  directory.write("model.safetensors.index.json",
                  R"({"weight_map":{"a":"one.safetensors","a":"two.safetensors"}})");
  CHECK(open_error(directory) != "no error");
  directory.write("model.safetensors.index.json", "[]");
  CHECK(open_error(directory) != "no error");
}

TEST_CASE("Hugging Face directory: what is missing has a sentence") {
  TemporaryDirectory directory;
  CHECK(contains(open_error(directory), "no config.json"));
  directory.write("config.json", tiny_config(false).dump());
  CHECK(contains(open_error(directory), "neither model.safetensors"));
  directory.write("pytorch_model.bin", "x");
  CHECK(contains(open_error(directory), "pytorch_model.bin: is no file of torch.save"));
  Json quantized = tiny_config(false);
  quantized["quantization_config"] = {{"quant_method", "spqr"}, {"bits", 3}};
  directory.write("config.json", quantized.dump());
  CHECK(contains(open_error(directory), "quant_method 'spqr'"));
  CHECK(contains(message_of([&] { open_checkpoint(directory.path() / "absent", {}); }), "no such file"));
}

TEST_CASE("files that cannot be read are refused with the system's reason") {
  const TemporaryDirectory directory;
  // A socket exists and cannot be opened, by nobody.
  const std::filesystem::path path = directory.path() / "socket";
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  path.string().copy(address.sun_path, sizeof address.sun_path - 1);
  const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  REQUIRE(::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  CHECK(message_of([&] { open_checkpoint(path, {}); }) ==
        path.string() + ": cannot be read: No such device or address");
  ::close(fd);
}

TEST_CASE("tokenizer files: vocab.json with merges.txt where there is no tokenizer.json") {
  TemporaryDirectory directory;
  directory.write("vocab.json", "{\"a\":0}");
  CHECK(
      contains(message_of([&] { tokenizer_files_at(directory.path()); }), "nor vocab.json with merges.txt"));
  directory.write("merges.txt", "#version: 0.2\n");
  CHECK(tokenizer_files_at(directory.path()).size() == 2);
  directory.write("tokenizer.json", "{\"model\":{}}");
  const TokenizerFiles files = tokenizer_files_at(directory.path());
  CHECK(files.size() == 1);
  CHECK(files.contains("tokenizer.json"));
}

TEST_CASE("tokenizer files: a directory's own, or what is given in their place") {
  TemporaryDirectory directory;
  directory.write("config.json", tiny_config(false).dump());
  directory.write("model.safetensors", safetensors_bytes({{"a", "F32", {4}, kFloats}}));
  directory.write("tokenizer.json", R"({"model":{"type":"BPE"}})");
  directory.write("generation_config.json", "{}");
  directory.write("README.md", "text");
  CHECK(open_checkpoint(directory.path(), {})->tokenizer_files().size() == 2);

  TemporaryDirectory other;
  const auto files_with = [&](const std::filesystem::path& path) {
    CheckpointOptions options;
    options.tokenizer = path;
    return open_checkpoint(directory.path(), options)->tokenizer_files();
  };
  const std::string json = " {\"model\":{\"type\":\"BPE\",\"vocab\":{}}}";
  // Two tokens with their scores; the longest has 3 bytes.
  const std::string llama2c =
      bytes_of(3) + bytes_of(-1.0F) + bytes_of(3) + "abc" + bytes_of(-2.0F) + bytes_of(1) + "a";
  // pieces { piece: "a" score: 0 } and an unknown length-delimited field 2
  const std::string sentencepiece =
      std::string("\x0a\x08\x0a\x01") + "a" + std::string("\x15\0\0\0\0", 5) + "\x12\x01x";
  for (const auto& given : {std::pair<std::string, std::string>{"tokenizer.json", json},
                            {"tokenizer.bin", llama2c},
                            {"tokenizer.model", sentencepiece}}) {
    CAPTURE(given.first);
    const TokenizerFiles files = files_with(other.write("whatever.name", given.second));
    CHECK(files.size() == 2);
    CHECK(files.contains("generation_config.json"));
    REQUIRE(files.contains(given.first));
    CHECK(files.find(given.first)->second == given.second);
  }
  for (const std::string& bad :
       {std::string(), std::string("text"), std::string("{}"), std::string("{\"model\""),
        llama2c.substr(0, llama2c.size() - 1), llama2c + "x",
        sentencepiece.substr(0, sentencepiece.size() - 1), bytes_of(-1), bytes_of(3),
        bytes_of(3) + bytes_of(1.0F) + bytes_of(-5) + "abc"}) {
    CHECK(message_of([&] { files_with(other.write("bad", bad)); }) != "no error");
  }
  CHECK(contains(message_of([&] { files_with(other.path()); }), "neither tokenizer.json nor"));
  CHECK(contains(message_of([&] { files_with(other.path() / "absent"); }), "no such tokenizer"));
  other.write("tokenizer.model", sentencepiece);
  other.write("tokenizer_config.json", "{}");
  CHECK(files_with(other.path()).size() == 3);
}

TEST_CASE("Hugging Face directory: a trained model whose tied embedding is stored as lm_head.weight") {
  const auto path = test_data("tinystories-656k");
  if (!path) return;
  const auto checkpoint = open_checkpoint(*path, {});
  const ModelConfig config = parse_config(checkpoint->config_json(), "config.json");
  CHECK(config.tie_word_embeddings);
  REQUIRE(checkpoint->find("model.embed_tokens.weight") != nullptr);
  CHECK(checkpoint->find("model.embed_tokens.weight")->shape == std::vector<std::int64_t>{2048, 128});
  CHECK(checkpoint->read("model.embed_tokens.weight") == checkpoint->read("lm_head.weight"));
  CHECK(checkpoint->tokenizer_files().size() == 4);
}
