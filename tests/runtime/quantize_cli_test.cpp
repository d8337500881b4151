// spqr-quantize as a user runs it: exit statuses, what goes where, Ctrl-C.
#include <doctest/doctest.h>

#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/models/files.h"
#include "tests/runtime/tools.h"

namespace spqr {
namespace {

Arguments command(const Arguments& arguments) {
  return spqr::command("spqr-quantize", arguments);
}

std::string fixture(const char* name) {
  return SPQR_FIXTURES "/" + std::string(name);
}

Arguments stories(const std::string& out, const Arguments& more) {
  Arguments all =
      command({fixture("llama2c/stories260K.bin"), out, "--tokenizer", fixture("llama2c/tok512.bin")});
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

bool is_one_line(const std::string& text) {
  return !text.empty() && text.find('\n') == text.size() - 1;
}

TEST_CASE("spqr-quantize: --json prints one object to standard output, and a report elsewhere") {
  const TemporaryDirectory directory;
  const std::string out = (directory.path() / "q.spqr").string();
  const Finished finished = run_process(stories(out, {"--scheme", "rtn", "--bits", "4", "--json"}));
  CHECK(finished.status == 0);
  const nlohmann::json summary = nlohmann::json::parse(finished.out);
  CHECK(summary["bits_per_weight"].get<double>() > 4);
  CHECK(summary["file_bytes"] == std::filesystem::file_size(out));
  CHECK(contains(finished.err, "model.layers.4.mlp.down_proj"));
  CHECK(run_process(stories(out, {"--scheme", "f16", "--quiet", "--json"})).err.empty());
}

TEST_CASE("spqr-quantize: wrong usage is exit status 2, what fails 1, each one sentence") {
  const TemporaryDirectory directory;
  const std::string out = (directory.path() / "q.spqr").string();
  const Arguments wrong[] = {command({}),
                             command({"model"}),
                             command({"a", "b", "c"}),
                             command({"--synthetic", "llama-7b"}),
                             command({"--synthetic", "llama-8b", out}),
                             command({"--synthetic", "falcon-9b", out}),
                             command({"--synthetic", "llama-7b", out, "--calibration", "x"}),
                             stories(out, {}),
                             stories(out, {"--scheme", "rtn", "--head-scheme", "spqr"}),
                             stories(out, {"--bits", "9"}),
                             stories(out, {"--no-such-option"}),
                             stories(out, {"--outlier-threshold", "1", "--target-bits", "4"})};
  for (const Arguments& arguments : wrong) {
    const Finished finished = run_process(arguments);
    CAPTURE(finished.err);
    CHECK(finished.status == 2);
    CHECK(is_one_line(finished.err));
  }
  const Arguments failing[] = {command({out, out + "2", "--scheme", "f16"}),
                               stories(out, {"--calibration", out}),
                               stories(out + "/x/y", {"--scheme", "f16", "--quiet"})};
  for (const Arguments& arguments : failing) {
    const Finished finished = run_process(arguments);
    CAPTURE(finished.err);
    CHECK(finished.status == 1);
    CHECK(is_one_line(finished.err));
  }
  CHECK(std::filesystem::is_empty(directory.path()));
  REQUIRE(::mkfifo(out.c_str(), 0600) == 0);
  const Finished finished = run_process(stories(out, {"--scheme", "f16", "--quiet"}));
  CHECK(finished.status == 1);
  CHECK(contains(finished.err, "q.spqr: is no regular file"));
  CHECK(std::filesystem::is_fifo(out));
}

TEST_CASE("spqr-quantize: what a value can be is said, and where one comes from that was not given") {
  const TemporaryDirectory directory;
  const std::string out = (directory.path() / "q.spqr").string();
  const std::string model = fixture("llama2c/stories260K.bin");
  const auto refuses = [&](const Arguments& more, const std::string& part) {
    Arguments arguments{model,           out,
                        "--calibration", fixture("calibration/c4_sample.jsonl"),
                        "--tokenizer",   fixture("llama2c/tok512.bin")};
    arguments.insert(arguments.end(), more.begin(), more.end());
    check_refused("spqr-quantize", arguments, 2, part);
  };
  refuses({"--beta1", "24"}, "--beta1 is '24', expected one of 8, 16, 32, 64, 128, row");
  refuses({"--beta2", "7"}, "--beta2 is '7', expected one of 8, 16, 32, 64");
  refuses({"--scale-bits", "12"}, "--scale-bits is '12', expected one of 2, 3, 4, 5, 6, 7, 8, 16");
  refuses({"--target-bits", "3.1"}, "3.100 bits per weight cannot be reached");
  refuses({"--preset", "3bit", "--bits", "4"},
          "3.790 bits per weight cannot be reached: without outliers this format takes 4.625; that is what "
          "--preset 3bit aims at: give --target-bits or --outlier-threshold too");
  check_refused("spqr-quantize",
                {"--synthetic", fixture("golden/qwen2/config.json"), out, "--target-bits", "3.1"}, 2,
                "3.100 bits per weight cannot be reached");
  CHECK(std::filesystem::is_empty(directory.path()));
}

TEST_CASE("spqr-quantize: --synthetic refuses what it would ignore, and --help lists its shapes") {
  const TemporaryDirectory directory;
  const std::string out = (directory.path() / "q.spqr").string();
  const std::vector<Arguments> ignored = {{"--outlier-threshold", "0.1"},
                                          {"--simplified-outliers"},
                                          {"--damp", "0.5"},
                                          {"--round-zero"},
                                          {"--true-sequential"},
                                          {"--calibration", "x"},
                                          {"--resume"},
                                          {"--base", "x"},
                                          {"--outliers", "add"},
                                          {"--tokenizer", "x"},
                                          {"--activations-on-disk"}};
  for (const Arguments& more : ignored) {
    Arguments arguments{"--synthetic", "llama-7b", out};
    arguments.insert(arguments.end(), more.begin(), more.end());
    check_refused("spqr-quantize", arguments, 2, more[0] + " cannot be used with --synthetic");
  }
  const Finished help = run("spqr-quantize", {"--help"});
  for (const std::string shape : {"llama-7b", "llama-65b", "falcon-7b", "falcon-40b"})
    CHECK_MESSAGE(contains(help.out, shape), shape);
  const std::string config = fixture("golden/qwen2/config.json");
  const Finished made = run("spqr-quantize", {"--synthetic", config, out, "--preset", "3bit", "--json"});
  CHECK(made.status == 0);
  CHECK_FALSE(nlohmann::json::parse(made.out).contains("relative_error"));
  CHECK_FALSE(contains(made.err, "error"));
}

TEST_CASE("spqr-quantize: what is SpQR already is taken over, and options that contradict it are refused") {
  const TemporaryDirectory directory;
  const std::string out = (directory.path() / "q.spqr").string();
  const std::string model = fixture("torch/reference");
  const Arguments wrong[] = {{model, out, "--bits", "4"},
                             {model, out, "--preset", "3bit"},
                             {model, out, "--scheme", "rtn"},
                             {model, out, "--outliers", "add"},
                             {model, out, "--outliers", "none"},
                             {model, out, "--resume"},
                             {fixture("golden/llama-mha"), out, "--scheme", "f16", "--outliers", "add"}};
  for (const Arguments& arguments : wrong) check_refused("spqr-quantize", arguments, 2, "--");
  check_refused("spqr-quantize", {model, out, "--base", fixture("gguf"), "--quiet"}, 1, "has no config.json");
  CHECK(std::filesystem::is_empty(directory.path()));
  const Finished finished = run("spqr-quantize", {model, out, "--bits", "3", "--json", "--quiet"});
  CHECK(finished.status == 0);
  CHECK(nlohmann::json::parse(finished.out)["bits_per_weight"].get<double>() > 3.6);
}

TEST_CASE("spqr-quantize: --export hf-dense writes a directory, or one sentence") {
  const TemporaryDirectory directory;
  const std::string model = (directory.path() / "q.spqr").string();
  const std::string out = (directory.path() / "dense").string();
  REQUIRE(run("spqr-quantize", {fixture("torch/reference"), model, "--quiet"}).status == 0);
  check_refused("spqr-quantize", {model, out, "--export", "gguf"}, 2, "expected hf-dense");
  check_refused("spqr-quantize", {model, "--export", "hf-dense"}, 2, "missing");
  check_refused("spqr-quantize", {model, out, "--export", "hf-dense", "--bits", "3"}, 2, "--bits");
  check_refused("spqr-quantize", {fixture("llama2c/stories260K.bin"), out, "--export", "hf-dense"}, 1,
                "safetensors");
  check_refused("spqr-quantize", {model, directory.path().string(), "--export", "hf-dense"}, 1,
                "is there already");
  const Finished finished = run("spqr-quantize", {"--export", "hf-dense", model, out + "/"});
  CHECK(finished.status == 0);
  CHECK(contains(finished.err, "no tokenizer in Hugging Face's format"));
  CHECK(std::filesystem::exists(out + "/model.safetensors"));
  CHECK_FALSE(std::filesystem::exists(out + ".partial"));
}

TEST_CASE("spqr-quantize: Ctrl-C ends with a sentence, and --resume with the file") {
  const TemporaryDirectory directory;
  const std::string out = (directory.path() / "q.spqr").string();
  const Arguments run =
      stories(out, {"--calibration", fixture("calibration/c4_sample.jsonl"), "--calibration-samples", "8",
                    "--calibration-length", "256", "--json", "--quiet"});
  {
    Process process(run);
    while (!std::filesystem::exists(out + ".partial")) ::usleep(1000);
    process.send(SIGINT);
    const Finished finished = process.finish();
    CHECK(finished.status == 130);
    CHECK(contains(finished.err, "spqr-quantize: interrupted"));
    CHECK(is_one_line(finished.err));
  }
  CHECK_FALSE(std::filesystem::exists(out));
  Arguments resumed = run;
  resumed.push_back("--resume");
  CHECK(run_process(resumed).status == 0);
  CHECK(std::filesystem::exists(out));
}

}  // namespace
}  // namespace spqr
