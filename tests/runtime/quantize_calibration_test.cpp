#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <numeric>
#include <stdexcept>
#include <string>

#include "models/checkpoint.h"
#include "models/tokenizer_files.h"
#include "runtime/activations.h"
#include "runtime/calibration.h"
#include "tests/models/files.h"

namespace spqr {
namespace {

std::vector<std::int32_t> counting(std::int32_t count) {
  std::vector<std::int32_t> ids(static_cast<std::size_t>(count));
  std::iota(ids.begin(), ids.end(), 0);
  return ids;
}

void write(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

TEST_CASE("calibration: sequential windows follow each other from the start") {
  const auto windows = cut_windows(counting(100), 3, 30, WindowOrder::sequential, 0);
  REQUIRE(windows.size() == 3);
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK(windows[i].size() == 30);
    CHECK(windows[i].front() == static_cast<std::int32_t>(30 * i));
    CHECK(windows[i].back() == static_cast<std::int32_t>(30 * i + 29));
  }
  CHECK(cut_windows(counting(100), 9, 30, WindowOrder::sequential, 0).size() == 3);
}

TEST_CASE("calibration: too little text gives one shorter window, none gives none") {
  const auto windows = cut_windows(counting(7), 3, 30, WindowOrder::sequential, 0);
  REQUIRE(windows.size() == 1);
  CHECK(windows[0] == counting(7));
  CHECK(cut_windows({}, 3, 30, WindowOrder::random, 0).empty());
}

TEST_CASE("calibration: random windows are whole, and decided by the seed") {
  const auto one = cut_windows(counting(1000), 20, 30, WindowOrder::random, 1);
  CHECK(one.size() == 20);
  for (const auto& window : one) {
    CHECK(window.size() == 30);
    CHECK(window.back() - window.front() == 29);
    CHECK(window.back() < 1000);
  }
  CHECK(one == cut_windows(counting(1000), 20, 30, WindowOrder::random, 1));
  CHECK(one != cut_windows(counting(1000), 20, 30, WindowOrder::random, 2));
}

TEST_CASE("calibration: documents of a .jsonl file are joined with spaces") {
  const TemporaryDirectory directory;
  const auto tokenizer =
      load_tokenizer(tokenizer_files_in(std::filesystem::path(SPQR_FIXTURES) / "tokenizers" / "smollm2"));
  CalibrationSettings settings;
  settings.file = directory.path() / "text.jsonl";
  write(settings.file, "{\"text\":\"a b\"}\n\n{\"text\":\"c\\n\",\"url\":1}\r\n{\"text\":\"d\"}");
  const auto load = [&] {
    return load_calibration(settings, 0, tokenizer.get(), tokenizer->vocab_size(), 100);
  };
  CHECK(load().sequences.front() == tokenizer->encode("a b c\n d", {}));
  CHECK(load().documents == 3);
  settings.documents = {2, 3};
  CHECK(load().sequences.front() == tokenizer->encode("c\n d", {}));
  CHECK(load().documents == 2);
  settings.documents.last = 4;
  CHECK_THROWS_WITH_AS(load(), doctest::Contains("has 3 documents, asked for 2-4"), std::runtime_error);
}

TEST_CASE("calibration: a model without a tokenizer takes ids") {
  const TemporaryDirectory directory;
  const std::filesystem::path file = directory.path() / "ids.txt";
  write(file, "1 2\n3\t4 5 6 7");
  CalibrationSettings settings;
  settings.file = file;
  settings.samples = 2;
  settings.length = 3;
  const CalibrationSet set = load_calibration(settings, 0, nullptr, 8, 100);
  CHECK(set.sequences == std::vector<std::vector<std::int32_t>>{{1, 2, 3}, {4, 5, 6}});
  CHECK(set.warnings.empty());
  CHECK(set.tokens_available == 7);
  CHECK_THROWS_AS(load_calibration(settings, 0, nullptr, 7, 100), std::runtime_error);  // id 7
  write(file, "1 two");
  CHECK_THROWS_AS(load_calibration(settings, 0, nullptr, 8, 100), std::runtime_error);
  write(file, " \n");
  CHECK_THROWS_AS(load_calibration(settings, 0, nullptr, 8, 100), std::runtime_error);
  settings.file = directory.path() / "missing";
  CHECK_THROWS_AS(load_calibration(settings, 0, nullptr, 8, 100), std::runtime_error);
}

TEST_CASE("calibration: a text of nothing is refused, though BOS is a token") {
  const TemporaryDirectory directory;
  const std::filesystem::path stories = std::filesystem::path(SPQR_FIXTURES) / "llama2c";
  const auto tokenizer = load_tokenizer(
      open_checkpoint(stories / "stories260K.bin", {stories / "tok512.bin"})->tokenizer_files());
  CalibrationSettings settings;
  settings.file = directory.path() / "text.txt";
  write(settings.file, "");
  REQUIRE(tokenizer->encode("", {}).size() == 1);
  const auto load = [&] {
    return load_calibration(settings, 0, tokenizer.get(), tokenizer->vocab_size(), 100);
  };
  CHECK_THROWS_WITH_AS(load(), doctest::Contains("holds no text"), std::runtime_error);
  write(settings.file, "a");
  CHECK(load().sequences.front().size() == 2);
}

TEST_CASE("calibration: length is capped to the model's, and less text than asked for is said") {
  const TemporaryDirectory directory;
  const std::filesystem::path file = directory.path() / "ids.txt";
  write(file, "1 2 3 4 5 6 7");
  CalibrationSettings settings;
  settings.file = file;
  const CalibrationSet set = load_calibration(settings, 0, nullptr, 8, 3);
  CHECK(set.sequences.size() == 2);
  CHECK(set.sequences[0].size() == 3);
  CHECK(set.warnings.size() == 2);
}

TEST_CASE("activations: what was stored is loaded, in memory and on disk") {
  const TemporaryDirectory directory;
  const std::filesystem::path file = directory.path() / "activations";
  for (const std::filesystem::path& path : {std::filesystem::path(), file}) {
    const auto activations = make_activations({4, 6}, path);
    const std::vector<float> one{1, 2, 3, 4};
    const std::vector<float> two{5, 6, 7, 8, 9, 10};
    activations->store(1, two.data());
    activations->store(0, one.data());
    std::vector<float> loaded(6);
    activations->load(1, loaded.data());
    CHECK(loaded == two);
    loaded.resize(4);
    activations->load(0, loaded.data());
    CHECK(loaded == one);
    CHECK_FALSE(std::filesystem::exists(file));  // it has no name while it is used
  }
  CHECK_THROWS_AS(make_activations({4}, directory.path() / "no" / "such"), std::runtime_error);
}

}  // namespace
}  // namespace spqr
