#include "tokenizer/pretokenizer.h"

#include <doctest/doctest.h>

#include <stdexcept>

#include "tests/tokenizer/tokenizer_fixtures.h"
#include "tokenizer/gguf_pretokenizers.h"
#include "tokenizer/regex.h"

namespace spqr {
namespace {

using Words = std::vector<std::string>;

// Hugging Face drops empty words when it counts tokens; we never make any of text that is not empty.
Words without_empty(Words words) {
  std::erase(words, std::string());
  return words;
}

TEST_CASE("pre-tokenizers cut texts as Hugging Face's tokenizers does") {
  for (const auto& entry : nlohmann::json::parse(fixture("pretokenizers.json"))) {
    CAPTURE(entry["name"].get<std::string>());
    const PreTokenizer pretokenizer = PreTokenizer::parse(entry["description"], "test");
    for (const auto& expected : entry["cases"]) {
      const auto text = expected["text"].get<std::string>();
      CAPTURE(text);
      CHECK(without_empty(pretokenizer.split(text, true)) == without_empty(expected["words"].get<Words>()));
    }
  }
}

TEST_CASE("names of GGUF files mean what the models' own files describe") {
  for (const auto& entry : nlohmann::json::parse(fixture("pretokenizers.json"))) {
    const auto name = entry["name"].get<std::string>();
    if (name != "gpt-2" && name != "smollm" && name != "llama-bpe" && name != "qwen2" && name != "tekken" &&
        name != "falcon" && name != "deepseek-coder") {
      continue;
    }
    CAPTURE(name);
    const PreTokenizer pretokenizer =
        PreTokenizer::parse(gguf_pretokenizer(name, "test").pre_tokenizer, "test");
    for (const auto& expected : entry["cases"]) {
      CHECK(without_empty(pretokenizer.split(expected["text"].get<std::string>(), true)) ==
            without_empty(expected["words"].get<Words>()));
    }
  }
  // Other names of the same, in llama.cpp, for whose users such files are made.
  for (const auto& [name, other] : {std::pair{"falcon3", "llama-bpe"}, std::pair{"midm-2.0", "llama-bpe"},
                                    std::pair{"megrez", "qwen2"}, std::pair{"minerva-7b", "smollm"}}) {
    CHECK(gguf_pretokenizer(name, "test").pre_tokenizer == gguf_pretokenizer(other, "test").pre_tokenizer);
    CHECK(gguf_pretokenizer(name, "test").add_bos == gguf_pretokenizer(other, "test").add_bos);
  }
  const GgufPreTokenizer smaug = gguf_pretokenizer("smaug-bpe", "test");
  CHECK(smaug.pre_tokenizer == gguf_pretokenizer("llama-bpe", "test").pre_tokenizer);
  CHECK_FALSE(smaug.add_bos);
  CHECK_FALSE(smaug.ignore_merges);
  CHECK_THROWS_WITH_AS(gguf_pretokenizer("bloom", "x.gguf"),
                       "x.gguf: 'tokenizer.ggml.pre' = 'bloom' is not supported", std::runtime_error);
}

TEST_CASE("a regular expression that is none, or one that never ends, is an error") {
  CHECK_THROWS_AS(Regex("a("), std::runtime_error);
  std::vector<TextRange> matches;
  CHECK_THROWS_AS(Regex("(a+)+$").find_all(std::string(60, 'a') + "b", matches), std::runtime_error);
}

TEST_CASE("empty matches are passed over, character by character") {
  std::vector<TextRange> matches;
  Regex("x*").find_all("\xC3\xA9x\xC3\xA9", matches);
  REQUIRE(matches.size() == 1);
  CHECK(matches[0].begin == 2);
  CHECK(matches[0].end == 3);
}

}  // namespace
}  // namespace spqr
