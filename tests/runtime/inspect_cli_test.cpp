// spqr-inspect as a user runs it: arguments, damaged files, checksums.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "models/safetensors.h"
#include "tests/models/files.h"
#include "tests/runtime/small_models.h"
#include "tests/runtime/tools.h"

namespace spqr {
namespace {

// The trained small model; where `flipped` is in it the byte that begins this tensor is changed.
std::string write_model(const TemporaryDirectory& folder, const std::string& flipped = "") {
  const auto path = folder.path() / "model.spqr";
  write_stories_model(path);
  if (flipped.empty()) return path.string();
  std::string bytes = read_bytes(path);
  const auto file = SafetensorsFile::parse(FileBytes::view(std::as_bytes(std::span(bytes))), "model");
  const std::byte* first = file.find(flipped)->data.data();
  bytes[static_cast<std::size_t>(reinterpret_cast<const char*>(first) - bytes.data())] ^= 1;
  return folder.write("flipped.spqr", bytes).string();
}

}  // namespace

TEST_CASE("spqr-inspect: the file as an argument or as -m, as text and as JSON") {
  const TemporaryDirectory folder;
  const std::string model = write_model(folder);
  const Finished text = run("spqr-inspect", {model});
  CHECK(text.status == 0);
  CHECK(text.err.empty());
  CHECK(contains(text.out, "llama, 5 blocks, hidden size 64"));
  CHECK(!contains(text.out, "checksum"));
  CHECK(run("spqr-inspect", {"-m", model}).out == text.out);
  const Finished json = run("spqr-inspect", {model, "--json", "-c", "100"});
  CHECK(json.status == 0);
  const auto object = nlohmann::json::parse(json.out);
  CHECK(object["memory"]["context"] == 100);
  CHECK(object["memory"]["kv_cache"] == 100 * 5 * 2 * 32 * 2);  // 5 blocks, keys and values of 32, f16
  CHECK(!object.contains("tensors"));
  CHECK(nlohmann::json::parse(run("spqr-inspect", {model, "--json", "--tensors"}).out)["modules"].size() ==
        36);
}

TEST_CASE("spqr-inspect: wrong usage is one sentence and status 2") {
  const TemporaryDirectory folder;
  const std::string model = write_model(folder);
  check_refused("spqr-inspect", {}, 2, "no file is given");
  check_refused("spqr-inspect", {model, model}, 2, model);
  check_refused("spqr-inspect", {model, "-m", model}, 2, "more than one file");
  check_refused("spqr-inspect", {model, "-c", "-1"}, 2, "-c has to be 0 or more");
  check_refused("spqr-inspect", {model, "-c", "many"}, 2, "many");
}

TEST_CASE("spqr-inspect: files that are missing, cut off or something else are one sentence and status 1") {
  const TemporaryDirectory folder;
  const std::string bytes = read_bytes(write_model(folder));
  check_refused("spqr-inspect", {(folder.path() / "none.spqr").string()}, 1, "none.spqr");
  check_refused("spqr-inspect", {folder.path().string()}, 1, "is a directory, expected a .spqr file");
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{7}, std::size_t{1000}, bytes.size() / 2, bytes.size() - 1}) {
    CAPTURE(size);
    check_refused("spqr-inspect", {folder.write("cut.spqr", bytes.substr(0, size)).string()}, 1, "cut.spqr");
  }
  const std::string other =
      folder.write("other.safetensors", safetensors_bytes({{"a", "F32", {1}, "abcd"}})).string();
  check_refused("spqr-inspect", {other}, 1, "is a safetensors file but not a .spqr file");
}

TEST_CASE("spqr-inspect --sensitivity and --outliers, as text and as JSON") {
  const TemporaryDirectory folder;
  const std::filesystem::path fixtures = SPQR_FIXTURES;
  const std::string checkpoint = (fixtures / "llama2c" / "stories260K.bin").string();
  const std::string file = (folder.path() / "a.spqr").string();
  const std::string matrix = "model.layers.1.self_attn.o_proj";
  const Arguments calibration{
      "--tokenizer",           (fixtures / "llama2c" / "tok512.bin").string(),
      "--calibration",         (fixtures / "calibration" / "c4_sample.jsonl").string(),
      "--calibration-samples", "2",
      "--calibration-length",  "64"};
  const auto with = [&](Arguments arguments) {
    arguments.insert(arguments.end(), calibration.begin(), calibration.end());
    return arguments;
  };
  REQUIRE(run("spqr-quantize", with({checkpoint, file, "--keep-sensitivity", "--quiet"})).status == 0);
  const Finished text = run("spqr-inspect", {file, "--sensitivity", matrix + ".weight"});
  CHECK(text.status == 0);
  CHECK(contains(text.out, "1 of 64 rows hold"));
  CHECK(contains(text.out, "by head (8 columns each"));
  const Finished stored = run("spqr-inspect", {file, "--sensitivity", matrix, "--json"});
  const auto object = nlohmann::json::parse(stored.out);
  CHECK(object["map"].size() == 64);
  CHECK(object["heads"].size() == 8);
  CHECK(object["column_sums"].size() == 64);
  const Finished fresh = run("spqr-inspect", with({checkpoint, "--sensitivity", matrix, "--json"}));
  CHECK(fresh.status == 0);
  CHECK(nlohmann::json::parse(fresh.out)["row_sums"] == object["row_sums"]);
  CHECK(contains(run("spqr-inspect", {file, "--outliers"}).out, matrix));
  CHECK(nlohmann::json::parse(run("spqr-inspect", {file, "--outliers", "--json"}).out)["matrices"].size() ==
        35);

  check_refused("spqr-inspect", {file, "--sensitivity", "model.nothing"}, 1, "has no matrix 'model.nothing'");
  check_refused("spqr-inspect", {write_model(folder), "--sensitivity", matrix}, 1, "has no sensitivity of");
  check_refused("spqr-inspect", {file, "--sensitivity", matrix, "--outliers"}, 2, "one at a time");
  check_refused("spqr-inspect", {file, "--sensitivity", matrix, "--bits", "3"}, 2,
                "--bits goes with --calibration");
  check_refused("spqr-inspect", with({checkpoint}), 2, "--calibration goes with --sensitivity");
  check_refused("spqr-quantize", {checkpoint, file, "--scheme", "rtn", "--keep-sensitivity"}, 2,
                "--keep-sensitivity cannot be used with --scheme rtn");
}

TEST_CASE("spqr-inspect --verify: counts the checksums, and names the tensor of which one byte changed") {
  const TemporaryDirectory folder;
  const Finished good = run("spqr-inspect", {write_model(folder), "--verify"});
  CHECK(good.status == 0);
  // 36 matrices, 11 norms, a tokenizer
  CHECK(contains(good.out, "all 48 checksums are right\n"));
  const auto json =
      nlohmann::json::parse(run("spqr-inspect", {write_model(folder), "--verify", "--json"}).out);
  CHECK(json["verified_checksums"] == 48);
  for (const char* tensor : {"model.layers.3.mlp.up_proj.weight", "model.norm.weight"}) {
    const std::string flipped = write_model(folder, tensor);
    CHECK(run("spqr-inspect", {flipped}).status == 0);
    check_refused("spqr-inspect", {flipped, "--verify"}, 1,
                  std::string("tensor '") + tensor + "' has checksum");
    check_refused("spqr-inspect", {flipped, "--verify", "--json"}, 1, tensor);
  }
}

}  // namespace spqr
