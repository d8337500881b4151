// Checkpoints of PyTorch files: Hugging Face directories and Meta's. The fixtures are one model in all forms.
#include <doctest/doctest.h>

#include <string>

#include "models/checkpoint.h"
#include "models/config.h"
#include "models/meta_checkpoint.h"
#include "tests/models/files.h"

using namespace spqr;

namespace {

const std::filesystem::path kFixtures = std::filesystem::path(SPQR_FIXTURES) / "torch";

void copy_all(const std::filesystem::path& from, const TemporaryDirectory& to) {
  std::filesystem::copy(from, to.path(), std::filesystem::copy_options::recursive);
}

std::string open_error(const std::filesystem::path& path) {
  return message_of([&] { open_checkpoint(path, {}); });
}

ModelConfig config_of(const char* params, std::int64_t vocab_size) {
  return parse_config(meta_config_json(params, 64, vocab_size, "params.json"), "params.json");
}

}  // namespace

TEST_CASE("PyTorch files hold what safetensors hold: zip, legacy, sharded, and Meta's shards joined") {
  const auto expected = open_checkpoint(kFixtures / "llama", {});
  for (const char* name : {"zip", "legacy", "sharded", "meta"}) {
    CAPTURE(name);
    const auto found = open_checkpoint(kFixtures / name, {});
    CHECK(found->format() == (std::string(name) == "meta" ? "Meta" : "PyTorch"));
    CHECK(found->tensors().size() == expected->tensors().size());
    for (const CheckpointTensor& tensor : expected->tensors()) {
      CAPTURE(tensor.name);
      REQUIRE(found->find(tensor.name) != nullptr);
      CHECK(found->find(tensor.name)->shape == tensor.shape);
      CHECK(found->find(tensor.name)->stored_as == "F16");
      CHECK(found->read(tensor.name) == expected->read(tensor.name));
    }
    const ModelConfig config = parse_config(found->config_json(), name);
    CHECK(config.intermediate_size == 48);
    CHECK(config.num_key_value_heads == 2);
    CHECK(config.vocab_size == 24);
    CHECK(config.max_position_embeddings == 4096);
    CHECK(config.rope_theta == 10000);
    CHECK_FALSE(config.tie_word_embeddings);
  }
}

TEST_CASE("safetensors are preferred where both are there") {
  const TemporaryDirectory directory;
  copy_all(kFixtures / "llama", directory);
  directory.write("pytorch_model.bin", "no such file is read");
  CHECK(open_checkpoint(directory.path(), {})->format() == "safetensors");
}

TEST_CASE("PyTorch directories: what is missing or malicious has a sentence") {
  const TemporaryDirectory directory;
  copy_all(kFixtures / "sharded", directory);
  std::filesystem::remove(directory.path() / "pytorch_model-00002-of-00002.bin");
  CHECK(contains(open_error(directory.path()), "pytorch_model-00002-of-00002.bin is missing"));
  std::filesystem::copy(directory.path() / "pytorch_model-00001-of-00002.bin",
                        directory.path() / "pytorch_model-00002-of-00002.bin");
  CHECK(contains(open_error(directory.path()), "though pytorch_model.bin.index.json says so"));
  // The legacy layout's object may be any pickle: here one that runs a command where Python loads it.
  const std::string legacy = read_bytes(kFixtures / "types-legacy.pt");
  const std::size_t object = legacy.find(".\x80\x02", legacy.find("little_endian"));
  REQUIRE(object != std::string::npos);
  const std::string victim = (directory.path() / "victim").string();
  const std::string call = "cposix\nsystem\n(X" + bytes_of(static_cast<std::uint32_t>(victim.size() + 6)) +
                           "touch " + victim + "tR.";
  directory.write("pytorch_model.bin", legacy.substr(0, object + 3) + call);
  CHECK(contains(open_error(directory.path()), "names posix.system, which is not one of the few things"));
  CHECK_FALSE(std::filesystem::exists(victim));
  CHECK(contains(open_error(kFixtures / "types.pt"), "a PyTorch file: give the directory"));
  directory.write("pytorch_model.bin", read_bytes(kFixtures / "types.pt"));
  CHECK(contains(open_error(directory.path()), "entry tuple is not a tensor with a name"));
}

TEST_CASE("Meta's directories: shards that are missing, alike or of another model") {
  const TemporaryDirectory directory;
  copy_all(kFixtures / "meta", directory);
  const std::filesystem::path second = directory.path() / "consolidated.01.pth";
  std::filesystem::remove(second);
  CHECK(contains(open_error(directory.path()),
                 "consolidated.01.pth is missing: the model is split into 2 files"));
  std::filesystem::copy(kFixtures / "zip" / "pytorch_model.bin", second);
  CHECK(contains(open_error(directory.path()), "is not part of Meta's text models"));
  std::filesystem::remove(directory.path() / "consolidated.00.pth");
  CHECK(contains(open_error(directory.path()), "no config.json"));
}

TEST_CASE("Meta's directories: LLaMA 3's tokenizer.model is told from others") {
  const TemporaryDirectory directory;
  copy_all(kFixtures / "meta", directory);
  std::string list = "IQ== 0\n";
  directory.write("tokenizer.model", list + "Ig== 1\n");
  CHECK(contains(open_error(directory.path()),
                 "is a list of 2 tokens and their ranks; of such lists only LLaMA 3's"));
  for (int rank = 1; rank < 128000; ++rank) list += "Ig== " + std::to_string(rank) + "\n";
  directory.write("tokenizer.model", list);
  const auto checkpoint = open_checkpoint(directory.path(), {});
  CHECK(checkpoint->tokenizer_files().at("tokenizer.tiktoken") == list);
  directory.write("tokenizer.model", "Some text.\n");
  CHECK(contains(open_error(directory.path()), "not a tokenizer that is known"));
}

TEST_CASE("Meta's params.json: families tell their context, angles and special tokens") {
  constexpr const char* kLlama1 =
      R"({"dim":4096,"multiple_of":256,"n_heads":32,"n_layers":32,"norm_eps":1e-06,"vocab_size":-1})";
  ModelConfig config = config_of(kLlama1, 32000);
  CHECK(config.max_position_embeddings == 2048);
  CHECK(config.num_key_value_heads == 32);
  CHECK(config.bos_token_id == 1);
  config = config_of(R"({"dim":8192,"multiple_of":4096,"ffn_dim_multiplier":1.3,"n_heads":64,"n_kv_heads":8,
                         "n_layers":80,"norm_eps":1e-05,"vocab_size":-1})",
                     32000);
  CHECK(config.max_position_embeddings == 4096);
  CHECK(config.num_key_value_heads == 8);
  config = config_of(
      R"({"dim":4096,"n_layers":32,"n_heads":32,"n_kv_heads":8,"vocab_size":128256,"multiple_of":1024,
                         "ffn_dim_multiplier":1.3,"norm_eps":1e-05,"rope_theta":500000.0})",
      128256);
  CHECK(config.max_position_embeddings == 8192);
  CHECK(config.rope_theta == 500000);
  CHECK(config.rope_scaling.type == RopeScaling::Type::none);
  CHECK(config.bos_token_id == 128000);
  CHECK(config.eos_token_ids == std::vector<std::int32_t>{128001, 128008, 128009});
  for (const auto& [dim, factor] : {std::pair(4096, 8.0), std::pair(2048, 32.0)}) {
    const std::string scaled =
        R"({"dim":)" + std::to_string(dim) +
        R"(,"n_layers":16,"n_heads":32,"n_kv_heads":8,"norm_eps":1e-05,"rope_theta":500000.0,
                                   "use_scaled_rope":true})";
    config = config_of(scaled.c_str(), 128256);
    CHECK(config.max_position_embeddings == 131072);
    CHECK(config.rope_scaling.type == RopeScaling::Type::llama3);
    CHECK(config.rope_scaling.factor == factor);
  }
  for (const char* bad : {"[]", "{}", R"({"dim":"x"})", R"({"dim":4096,"n_heads":32,"n_layers":1})",
                          R"({"dim":64,"n_heads":2,"n_layers":1,"norm_eps":1e-5,"moe":{"experts":4}})"}) {
    CHECK(message_of([&] { config_of(bad, 32000); }) != "no error");
  }
}
