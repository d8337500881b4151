// Models without a tokenizer, which take and give token ids, through the executables.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "tests/models/files.h"
#include "tests/runtime/tools.h"

namespace spqr {
namespace {

const std::filesystem::path kGolden = std::filesystem::path(SPQR_FIXTURES) / "golden" / "llama-mha";

std::vector<std::int32_t> golden(const char* key) {
  return nlohmann::json::parse(read_bytes(kGolden / "golden.json")).at(key).get<std::vector<std::int32_t>>();
}

std::vector<std::int32_t> ids_in(const std::string& text) {
  std::istringstream in(text);
  std::vector<std::int32_t> ids;
  for (std::int32_t id = 0; in >> id;) ids.push_back(id);
  CHECK_MESSAGE(in.eof(), text);
  return ids;
}

// The random model, quantized with these files beside it.
class Model {
 public:
  explicit Model(const std::vector<std::pair<std::string, std::string>>& files) {
    const std::filesystem::path checkpoint = directory_.path() / "checkpoint";
    std::filesystem::create_directory(checkpoint);
    for (const char* name : {"config.json", "model.safetensors"})
      std::filesystem::copy(kGolden / name, checkpoint / name);
    for (const auto& [name, bytes] : files) directory_.write("checkpoint/" + name, bytes);
    made = spqr::run("spqr-quantize", {checkpoint.string(), path(), "--scheme", "f32", "--quiet"});
  }
  std::string path() const { return (directory_.path() / "model.spqr").string(); }
  std::string write(const std::string& name, const std::string& bytes) const {
    return directory_.write(name, bytes).string();
  }
  Finished run(const Arguments& more) const {
    Arguments all{"-m", path(), "--temp",
                  "0",  "-p",   fmt::format("{}", fmt::join(golden("greedy_prompt"), " "))};
    all.insert(all.end(), more.begin(), more.end());
    return spqr::run("spqr-run", all);
  }
  Finished made;

 private:
  TemporaryDirectory directory_;
};

}  // namespace

TEST_CASE("a model without tokenizer takes and prints ids, with a warning") {
  const Model model({});
  CHECK(model.made.status == 0);
  CHECK(contains(model.made.err, "has no tokenizer"));
  const std::vector<std::int32_t> next = golden("greedy_next_20");
  const Finished alone = model.run({"-n", "20", "--no-display-prompt"});
  CHECK(alone.status == 0);
  CHECK(contains(alone.err, "no tokenizer"));
  CHECK(ids_in(alone.out) == next);

  std::vector<std::int32_t> all = golden("greedy_prompt");
  all.insert(all.end(), next.begin(), next.end());
  CHECK(ids_in(model.run({"-n", "20"}).out) == all);

  const auto json = nlohmann::json::parse(model.run({"-n", "20", "--json"}).out);
  CHECK(json.at("ids").get<std::vector<std::int32_t>>() == next);
  CHECK(ids_in(json.at("text")) == next);

  check_refused("spqr-tokenize", {"-m", model.path(), "-p", "Hello"}, 1, "has no tokenizer");
  const Finished text = run("spqr-run", {"-m", model.path(), "-p", "Hello"});
  CHECK(text.status == 1);
  CHECK(contains(text.err, "Hello"));
}

TEST_CASE("files about a tokenizer that is not there do not make one") {
  const std::vector<std::pair<std::string, std::string>> lone[] = {
      {{"generation_config.json", R"({"eos_token_id": 383})"}},
      {{"special_tokens_map.json", R"({"eos_token": "</s>"})"}},
      {{"tokenizer_config.json", R"({"eos_token": "</s>"})"}},
      {{"vocab.json", R"({"a": 0})"}}};
  for (const auto& files : lone) {
    CAPTURE(files.front().first);
    const Model model(files);
    CHECK(model.made.status == 0);
    CHECK(contains(model.made.err, "has no tokenizer"));
    CHECK(ids_in(model.run({"-n", "20", "--no-display-prompt"}).out) == golden("greedy_next_20"));
    const std::string ids = model.write("ids", fmt::format("{}", fmt::join(golden("ids"), " ")));
    CHECK(run("spqr-perplexity", {"-m", model.path(), "--tokens", ids}).status == 0);
    CHECK(run("spqr-bench", {"-m", model.path(), "-p", "4", "-n", "1", "-r", "1"}).status == 0);
    CHECK(contains(run("spqr-inspect", {model.path()}).out, "takes and gives token ids"));
    check_refused("spqr-tokenize", {"-m", model.path(), "-p", "Hello"}, 1, "has no tokenizer");
    check_refused("spqr-perplexity", {"-m", model.path(), "-f", ids}, 1, "no tokenizer");
  }
}

TEST_CASE("the end of text that generation_config.json names ends generation without a tokenizer too") {
  const std::vector<std::int32_t> next = golden("greedy_next_20");
  const Model model({{"generation_config.json", fmt::format(R"({{"eos_token_id": [{}]}})", next[3])}});
  const auto json = nlohmann::json::parse(model.run({"-n", "20", "--json"}).out);
  CHECK(json.at("finish_reason") == "eos");
  CHECK(json.at("ids").size() <= 3);
}

}  // namespace spqr
