// The executables after each other, as a user runs them: a checkpoint, spqr-quantize, and what runs and
// measures the result.
#include <doctest/doctest.h>
#include <fmt/core.h>

#include <csignal>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/models/files.h"
#include "tests/runtime/tools.h"
#include "tests/test_data.h"

namespace spqr {
namespace {

const std::string kFixtures = SPQR_FIXTURES;

// A directory with the config.json of a golden model and other bytes as its weights.
class Checkpoint {
 public:
  explicit Checkpoint(const std::string& weights) {
    directory_.write("config.json", read_bytes(kFixtures + "/golden/llama-mha/config.json"));
    directory_.write("model.safetensors", weights);
  }
  std::string path() const { return directory_.path().string(); }

 private:
  TemporaryDirectory directory_;
};

}  // namespace

TEST_CASE("a model with its tokenizer, quantized, tells its story; interrupted, what it has of it") {
  const TemporaryDirectory directory;
  const std::string model = (directory.path() / "stories.spqr").string();
  const Finished made =
      run("spqr-quantize", {kFixtures + "/llama2c/stories260K.bin", model, "--scheme", "f16", "--tokenizer",
                            kFixtures + "/llama2c/tok512.bin", "--quiet"});
  CHECK_MESSAGE(made.status == 0, made.err);
  CHECK(made.out.empty());
  const Arguments greedy{"-m", model, "-p", "Once upon a time", "--temp", "0", "-t", "2"};
  Arguments few = greedy;
  few.insert(few.end(), {"-n", "11"});
  check_refused("spqr-quantize", {model, model + "2", "--scheme", "rtn"}, 1, "is a .spqr file already");
  // As llama2.c has it.
  CHECK(run("spqr-run", few).out == "Once upon a time, there was a little girl named Lily.\n");

  Arguments many = greedy;
  many.insert(many.end(), {"-n", "100000", "--ignore-eos", "--context-shift"});
  Process process(command("spqr-run", many));
  process.wait_for_output(40);
  process.send(SIGINT);
  const Finished result = process.finish();
  CHECK(result.status == 0);
  CHECK(result.out.starts_with("Once upon a time, there was a little"));
  CHECK(contains(result.err, "decode"));
}

TEST_CASE("a trained Falcon, quantized, tells its stories word for word as transformers does") {
  const auto checkpoint = test_data("tinystories-falcon");
  if (!checkpoint) return;
  const TemporaryDirectory directory;
  const std::string model = (directory.path() / "falcon.spqr").string();
  const Finished made = run("spqr-quantize", {checkpoint->string(), model, "--scheme", "f16", "--quiet"});
  REQUIRE_MESSAGE(made.status == 0, made.err);
  const auto golden = nlohmann::json::parse(read_bytes(*checkpoint / "golden.json"));
  for (const auto& story : golden.at("prompts")) {
    const std::string prompt = story.at("prompt");
    const Finished told = run("spqr-run", {"-m", model, "-p", prompt, "--temp", "0", "-t", "2", "-n",
                                           fmt::format("{}", story.at("ids").size())});
    CAPTURE(told.err);
    CHECK(told.out == prompt + story.at("text").get<std::string>() + "\n");
  }
}

TEST_CASE("perplexity of a quantized checkpoint without tokenizer is that of transformers, to four digits") {
  const TemporaryDirectory directory;
  const std::string model = (directory.path() / "model.spqr").string();
  const std::string golden_directory = kFixtures + "/golden/llama-mha";
  const Finished made =
      run("spqr-quantize", {golden_directory, model, "--scheme", "f16", "--embedding-scheme", "f16",
                            "--head-scheme", "f16", "--quiet"});
  CHECK_MESSAGE(made.status == 0, made.err);
  const auto golden = nlohmann::json::parse(read_bytes(golden_directory + "/golden.json"));
  std::string ids;
  for (const auto& id : golden.at("ids")) ids += fmt::format("{}\n", id.get<int>());
  const std::string file = directory.write("ids.txt", ids).string();
  for (const std::string backend : {"cpu", "reference"}) {
    for (const std::string batch : {"7", "512"}) {
      const Finished result = run("spqr-perplexity", {"-m", model, "--tokens", file, "--json", "-ctk", "f32",
                                                      "-ctv", "f32", "--backend", backend, "-b", batch});
      CAPTURE(result.err);
      REQUIRE(result.status == 0);
      // The weights of the fixture are f16 already.
      const auto object = nlohmann::json::parse(result.out);
      CHECK(fmt::format("{:.3e}", object.at("perplexity").get<double>()) ==
            fmt::format("{:.3e}", golden.at("perplexity").get<double>()));
      CHECK(object.at("predicted_tokens") == golden.at("ids").size() - 1);
      CHECK(object.at("bits_per_weight") == 16);
    }
  }
}

TEST_CASE("checkpoints that are missing, cut off or no safetensors are one sentence, and leave no file") {
  const TemporaryDirectory directory;
  const std::string out = (directory.path() / "out.spqr").string();
  const auto refuses = [&](const std::string& model, const std::string& part) {
    check_refused("spqr-quantize", {model, out, "--scheme", "f16", "--quiet"}, 1, part);
    CHECK(std::filesystem::is_empty(directory.path()));
  };
  refuses("/nowhere/model", "/nowhere/model");
  refuses(Checkpoint("this is no safetensors file, but long enough for a header").path(),
          "model.safetensors");
  refuses(Checkpoint("").path(), "model.safetensors");
  const std::string bytes = read_bytes(kFixtures + "/golden/llama-mha/model.safetensors");
  refuses(Checkpoint(bytes.substr(0, 100)).path(), "model.safetensors");
  refuses(Checkpoint(bytes.substr(0, bytes.size() - 1)).path(), "model.safetensors");
}

TEST_CASE("no arguments and unknown options are one sentence and status 2, with every tool") {
  for (const std::string tool :
       {"spqr-run", "spqr-perplexity", "spqr-bench", "spqr-quantize", "spqr-inspect", "spqr-tokenize"}) {
    check_refused(tool, {}, 2, "--help");
    check_refused(tool, {"--no-such-option"}, 2, "no-such-option");
    const Finished help = run(tool, {"--help"});
    CHECK(help.status == 0);
    CHECK(contains(help.out, tool));
    CHECK(help.err.empty());
  }
}

}  // namespace spqr
