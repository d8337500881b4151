// Joins by hand; token counts and random windows as the paper's evaluation code and Hugging Face's tokenizers
// have them.
#include "runtime/datasets.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

#include "models/tokenizer_files.h"
#include "tests/models/files.h"
#include "tests/test_data.h"

namespace spqr {
namespace {

std::unique_ptr<Tokenizer> smollm2() {
  return load_tokenizer(tokenizer_files_in(std::filesystem::path(SPQR_FIXTURES) / "tokenizers" / "smollm2"));
}

// How `bytes` are read as dataset `name`.
std::string text_of(const std::string& name, const std::string& bytes,
                    std::optional<DocumentRange> documents = {}) {
  const TemporaryDirectory directory;
  return dataset_text({name, directory.write("file", bytes), documents});
}

std::size_t tokens_of(const std::string& name, const std::filesystem::path& file, const Tokenizer& tokenizer,
                      std::optional<DocumentRange> documents = {}) {
  return tokenizer.encode(dataset_text({name, file, documents}), {}).size();
}

}  // namespace

TEST_CASE("wikitext2: every line with its own line end, blank ones empty, joined with two") {
  CHECK(text_of("wikitext2", " \n = A = \n \n b c \n") == "\n\n = A = \n\n\n\n\n b c \n");
  CHECK(text_of("wikitext2", " x") == " x\n");
  CHECK(text_of("wikitext2", "").empty());
}

TEST_CASE("ptb: sentences without surrounding spaces") {
  CHECK(text_of("ptb", " a <unk> \n b n't \n") == "a <unk>\n\nb n't");
  CHECK(text_of("ptb-new", " a <unk> \n b n't \n") == "a <unk> b n't");
}

TEST_CASE("c4-new: the first 1100 documents, or those asked for") {
  std::string jsonl;
  for (int i = 1; i <= 1102; ++i) jsonl += "{\"text\": \"" + std::to_string(i) + "\"}\n";
  const std::string all = text_of("c4-new", jsonl);
  CHECK(all.starts_with("1 2 3 "));
  CHECK(all.ends_with(" 1099 1100"));
  CHECK(text_of("c4-new", jsonl, DocumentRange{2, 4}) == "2 3 4");
  CHECK(text_of("c4-new", jsonl, DocumentRange{1, 1102}).ends_with(" 1102"));
}

TEST_CASE("text: the file as it is; other names are refused") {
  CHECK(text_of("text", " a\r\n\n") == " a\r\n\n");
  CHECK_THROWS_AS(text_of("c4", "{}"), std::invalid_argument);
  CHECK_THROWS_AS(text_of("wikitext", ""), std::invalid_argument);
}

TEST_CASE("windows do not overlap and the last partial one is dropped") {
  const TemporaryDirectory directory;
  const auto tokenizer = smollm2();
  std::string text = "one two three four five six seven eight nine ten eleven";
  const auto ids = tokenizer->encode(text, {});
  REQUIRE(ids.size() == 11);
  DatasetOptions options{"text", directory.write("t", text), {}, 4};
  TokenWindows cut = load_windows(options, *tokenizer);
  CHECK(cut.tokens == 11);
  REQUIRE(cut.windows.size() == 2);
  CHECK(std::equal(ids.begin(), ids.begin() + 4, cut.windows[0].begin(), cut.windows[0].end()));
  CHECK(std::equal(ids.begin() + 4, ids.begin() + 8, cut.windows[1].begin(), cut.windows[1].end()));
  options.windows = 1;
  CHECK(load_windows(options, *tokenizer).windows.size() == 1);
  options.windows = 3;
  CHECK(load_windows(options, *tokenizer).windows.size() == 2);
  options.window = 12;
  CHECK(contains(message_of([&] { load_windows(options, *tokenizer); }),
                 "11 tokens are less than one window of 12"));
}

TEST_CASE("SmolLM2's token counts of the evaluation sets") {
  const auto wikitext = test_data("wikitext2/wiki.test.raw");
  const auto ptb = test_data("ptb/ptb.valid.txt");
  const auto c4 = test_data("c4/c4_en_train_first1000.jsonl");
  if (!wikitext || !ptb || !c4) return;
  const auto tokenizer = smollm2();
  CHECK(tokens_of("wikitext2", *wikitext, *tokenizer) == 304978);
  CHECK(tokens_of("ptb", *ptb, *tokenizer) == 93459);
  CHECK(tokens_of("c4-new", *c4, *tokenizer, DocumentRange{501, 1000}) == 240422);
}

TEST_CASE("LLaMA's token count of WikiText2, 166 windows") {
  const auto wikitext = test_data("wikitext2/wiki.test.raw");
  const auto model = test_data("tokenizers/llama/tokenizer.model");
  if (!wikitext || !model) return;
  const auto tokenizer = load_tokenizer(tokenizer_files_at(*model));
  const TokenWindows cut = load_windows({"wikitext2", *wikitext}, *tokenizer);
  CHECK(cut.tokens == 341469);
  CHECK(cut.windows.size() == 166);
  CHECK(cut.windows[0][0] == tokenizer->bos_id());
}

TEST_CASE("c4: random windows of long documents are those that Python draws") {
  const auto c4 = test_data("c4/c4_en_train_first1000.jsonl");
  if (!c4) return;
  const auto tokenizer = smollm2();
  // 111 of the documents have 1024 tokens or more. Expected: random.seed(0) and randint of CPython 3.11 over
  // the ids of Hugging Face's tokenizers.
  const TokenWindows drawn = load_windows({"c4", *c4, {}, 1024}, *tokenizer);
  REQUIRE(drawn.windows.size() == 256);
  const auto begins = [&](std::size_t window) {
    return std::vector<std::int32_t>(drawn.windows[window].begin(), drawn.windows[window].begin() + 3);
  };
  CHECK(begins(0) == std::vector<std::int32_t>{550, 2249, 282});
  CHECK(begins(1) == std::vector<std::int32_t>{540, 2649, 338});
  CHECK(begins(2) == std::vector<std::int32_t>{1350, 1041, 253});
  CHECK(begins(255) == std::vector<std::int32_t>{6652, 429, 13030});
  std::uint32_t digest = 0;
  for (const auto& window : drawn.windows) {
    REQUIRE(window.size() == 1024);
    for (const std::int32_t id : window) digest = digest * 31 + static_cast<std::uint32_t>(id);
  }
  CHECK(digest == 1588714229);
  CHECK(load_windows({"c4", *c4, {}, 1024, 5}, *tokenizer).windows.size() == 5);
  CHECK(contains(message_of([&] {
                   load_windows({"c4", *c4, {}, 1000000}, *tokenizer);
                 }),
                 "no document has 1000000 tokens"));
}

}  // namespace spqr
