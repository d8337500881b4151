// Ids of llama.cpp's tokenizer test strings and of the evaluation texts, computed elsewhere.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <sstream>

#include "tests/test_data.h"
#include "tests/tokenizer/tokenizer_fixtures.h"

namespace spqr {
namespace {

using Ids = std::vector<std::int32_t>;

std::vector<std::string> reference_texts() {
  const std::string all = fixture("reference/inputs.inp");
  const std::string separator = "\n__ggml_vocab_test__\n";
  std::vector<std::string> texts;
  std::size_t at = 0;
  for (std::size_t end = all.find(separator); end != std::string::npos; end = all.find(separator, at)) {
    texts.push_back(all.substr(at, end - at));
    at = end + separator.size();
  }
  texts.push_back(all.substr(at));
  return texts;
}

void check_reference_ids(const Tokenizer& tokenizer, const std::string& name) {
  CAPTURE(name);
  const std::vector<std::string> texts = reference_texts();
  REQUIRE(texts.size() == 47);
  REQUIRE(texts.back().empty());
  std::istringstream lines(fixture("reference/" + name + ".out"));
  for (const std::string& text : texts) {
    CAPTURE(text);
    std::string line;
    std::getline(lines, line);  // the last text is empty, and so is what is read for it
    std::istringstream numbers(line);
    Ids expected;
    for (std::int32_t id = 0; numbers >> id;) expected.push_back(id);
    CHECK(tokenizer.encode(text, kPlain) == expected);
  }
}

TEST_CASE("SmolLM2: reference ids, from tokenizer.json and from GGUF metadata") {
  const auto tokenizer = load_tokenizer(smollm2_files());
  check_reference_ids(*tokenizer, "smollm2");
  check_reference_ids(*load_tokenizer(as_gguf(fixture("smollm2/tokenizer.json"), "smollm")), "smollm2");
  for (const std::string& text : reference_texts()) {
    CHECK(tokenizer->decode(tokenizer->encode(text, {}), false) == text);
  }
}

TEST_CASE("GPT-2, Falcon, LLaMA and a story model: reference ids") {
  if (const auto files = test_tokenizer({{"vocab.json", "tokenizers/gpt2/gpt2-vocab.json"},
                                         {"merges.txt", "tokenizers/gpt2/gpt2-merges.txt"}})) {
    check_reference_ids(*load_tokenizer(*files), "gpt-2");
  }
  if (const auto files = test_tokenizer({{"tokenizer.json", "tokenizers/falcon-7b/tokenizer.json"}})) {
    check_reference_ids(*load_tokenizer(*files), "falcon");
    check_reference_ids(*load_tokenizer(as_gguf(files->begin()->second, "falcon")), "falcon");
  }
  if (const auto files = test_tokenizer({{"tokenizer.model", "tokenizers/llama/tokenizer.model"}})) {
    check_reference_ids(*load_tokenizer(*files), "llama-spm");
  }
  if (const auto files = test_tokenizer({{"tokenizer.bin", "tokenizers/llama/tokenizer.bin"}})) {
    check_reference_ids(*load_tokenizer(*files), "llama-spm");
  }
  if (const auto files = test_tokenizer({{"tokenizer.json", "tinystories-656k/tokenizer.json"}})) {
    check_reference_ids(*load_tokenizer(*files), "tinystories-656k");
  }
}

// LLaMA's vocabulary of llama2.c as the metadata of a GGUF file.
TokenizerFiles llama_gguf(const Tokenizer& llama, const std::string& table) {
  std::vector<std::string> tokens;
  std::vector<float> scores;
  std::vector<int> types;
  for (std::size_t at = 4; at + 8 <= table.size();) {
    float score = 0;
    std::int32_t size = 0;
    std::memcpy(&score, table.data() + at, 4);
    std::memcpy(&size, table.data() + at + 4, 4);
    std::string text;
    for (const char c : table.substr(at + 8, size))
      text += c == ' ' ? std::string("\xE2\x96\x81") : std::string(1, c);
    const std::size_t id = tokens.size();
    const std::string piece = llama.piece(static_cast<std::int32_t>(id), true);
    tokens.push_back(id < 3 ? piece : text);
    scores.push_back(score);
    types.push_back(id == 0 ? 2 : id < 3 ? 3 : id < 259 ? 6 : 1);
    at += 8 + size;
  }
  const nlohmann::json json{{"tokenizer.ggml.model", "llama"},  {"tokenizer.ggml.tokens", tokens},
                            {"tokenizer.ggml.scores", scores},  {"tokenizer.ggml.token_type", types},
                            {"tokenizer.ggml.bos_token_id", 1}, {"tokenizer.ggml.eos_token_id", 2}};
  return {{"gguf_tokenizer.json", json.dump()}};
}

TEST_CASE("scored merges give the ids of the sentencepiece library") {
  const auto model = test_tokenizer({{"tokenizer.model", "tokenizers/llama/tokenizer.model"}});
  const auto table = test_tokenizer({{"tokenizer.bin", "tokenizers/llama/tokenizer.bin"}});
  if (!model || !table) return;
  const auto library = load_tokenizer(*model);
  const auto llama2c = load_tokenizer(*table);
  const auto gguf = load_tokenizer(llama_gguf(*library, table->begin()->second));
  check_reference_ids(*gguf, "llama-spm");
  std::vector<std::string> texts;
  for (std::uint32_t seed = 0; seed < 50; ++seed) texts.push_back(random_text(seed, 200));
  if (const auto path = test_data("wikitext2/wiki.test.raw"))
    texts.push_back(read_bytes(*path).substr(0, 100000));
  for (const std::string& text : texts) {
    const Ids expected = library->encode(text, {});
    CHECK(llama2c->encode(text, {}) == expected);
    CHECK(gguf->encode(text, {}) == expected);
    CHECK(gguf->decode(expected, false) == library->decode(expected, false));
  }
}

// Lines with their ends, a blank one as nothing, joined by two more line ends.
std::string join_wikitext2(const std::string& raw) {
  std::string joined;
  for (std::size_t at = 0; at < raw.size();) {
    const std::size_t end = std::min(raw.find('\n', at), raw.size() - 1) + 1;
    const std::string line = raw.substr(at, end - at);
    if (at > 0) joined += "\n\n";
    if (line.find_first_not_of(" \n") != std::string::npos) joined += line;
    at = end;
  }
  return joined;
}

std::string join_ptb(const std::string& raw) {
  std::istringstream lines(raw);
  std::string joined;
  for (std::string line; std::getline(lines, line);) {
    const std::size_t begin = line.find_first_not_of(' ');
    const std::size_t end = line.find_last_not_of(' ');
    if (!joined.empty()) joined += "\n\n";
    if (begin != std::string::npos) joined += line.substr(begin, end - begin + 1);
  }
  return joined;
}

TEST_CASE("token counts of the evaluation texts") {
  const auto smollm2 = load_tokenizer(smollm2_files());
  if (const auto path = test_data("wikitext2/wiki.test.raw")) {
    const std::string text = join_wikitext2(read_bytes(*path));
    const Ids ids = smollm2->encode(text, {});
    CHECK(ids.size() == 304978);
    CHECK(smollm2->decode(ids, false) == text);
    if (const auto files = test_tokenizer({{"tokenizer.model", "tokenizers/llama/tokenizer.model"}})) {
      CHECK(load_tokenizer(*files)->encode(text, {}).size() == 341469);
    }
  }
  if (const auto path = test_data("ptb/ptb.valid.txt")) {
    CHECK(smollm2->encode(join_ptb(read_bytes(*path)), {}).size() == 93459);
  }
}

}  // namespace
}  // namespace spqr
