// Files that are not what they should be: each gives an error that says so, none a crash.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>

#include "tests/tokenizer/tokenizer_fixtures.h"

namespace spqr {
namespace {

using Json = nlohmann::json;

bool says(const std::string& error, const std::string& part) {
  return error.find(part) != std::string::npos;
}

Json tiny_json() {
  return Json::parse(R"({
    "added_tokens": [{"id": 3, "content": "<s>", "special": true}],
    "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}]},
    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": "a+"}, "behavior": "Isolated", "invert": false},
        {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true}]},
    "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {}}]},
    "decoder": {"type": "ByteLevel"},
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}})");
}

std::string error_with(const std::string& pointer, const Json& value) {
  Json json = tiny_json();
  json[Json::json_pointer(pointer)] = value;
  return load_error({{"tokenizer.json", json.dump(-1, ' ', false, Json::error_handler_t::ignore)}});
}

TEST_CASE("tokenizer.json: the good one loads, and none that is cut off") {
  const std::string good = tiny_json().dump();
  CHECK(load_error({{"tokenizer.json", good}}).empty());
  for (std::size_t size = 0; size < good.size(); ++size) {
    CHECK(says(load_error({{"tokenizer.json", good.substr(0, size)}}), "tokenizer.json"));
  }
}

TEST_CASE("tokenizer.json: what is wrong is named") {
  const std::vector<std::pair<std::pair<std::string, Json>, std::string>> cases{
      {{"/model/type", "Unigram"}, "'Unigram' is not supported"},
      {{"/model/type", 3}, "expected a string"},
      {{"/model/vocab", Json::array()}, "expected an object"},
      {{"/model/vocab", Json::object()}, "vocabulary"},
      {{"/model/vocab/ab", 1}, "belongs to both"},
      {{"/model/vocab/ab", -1}, "not within"},
      {{"/model/vocab/ab", 1 << 30}, "not within"},
      {{"/model/vocab/ab", 18446744073709551615ULL}, "too large"},
      {{"/model/vocab/ab", 1.5}, "expected an integer"},
      {{"/model/vocab/ab", "2"}, "expected an integer"},
      {{"/model/merges", 3}, "expected an array"},
      {{"/model/merges/0", "a c"}, "'c', which is not in the vocabulary"},
      {{"/model/merges/0", "b a"}, "'ba', which is not in the vocabulary"},
      {{"/model/merges/0", "ab"}, "two tokens"},
      {{"/model/merges/0", "a  b"}, "two tokens"},
      {{"/model/merges/0", Json::array({"a", 1})}, "expected a string"},
      {{"/model/merges/0", Json::array({"a"})}, "expected a string"},
      {{"/model/unk_token", "<unk>"}, "not in the vocabulary"},
      {{"/model/dropout", 0.5}, "'dropout' is not supported"},
      {{"/model/continuing_subword_prefix", "##"}, "is not supported"},
      {{"/model/byte_fallback", "yes"}, "expected true or false"},
      {{"/added_tokens/0/id", 1}, "belongs to both"},
      {{"/added_tokens/0/id", -7}, "not within"},
      {{"/added_tokens/0/id", 99999999999}, "not within"},
      {{"/added_tokens/0/content", ""}, "empty"},
      {{"/added_tokens/1", Json{{"id", 3}, {"content", "</s>"}}}, "belongs to both"},
      {{"/added_tokens/1", "</s>"}, "expected an object"},
      {{"/normalizer/type", "BertNormalizer"}, "'BertNormalizer' is not supported"},
      {{"/normalizer/normalizers", 1}, "not an array"},
      {{"/pre_tokenizer/type", "UnicodeScripts"}, "'UnicodeScripts' is not supported"},
      {{"/pre_tokenizer/pretokenizers/0/pattern/Regex", "a("}, "regular expression"},
      {{"/pre_tokenizer/pretokenizers/0/behavior", "Sideways"}, "'Sideways' is not supported"},
      {{"/post_processor/type", "RobertaProcessing"}, "'RobertaProcessing' is not supported"},
      {{"/post_processor/single/0/SpecialToken/id", "<x>"}, "'<x>' is not in the vocabulary"},
      {{"/decoder/type", "WordPiece"}, "'WordPiece' is not supported"},
      {{"/decoder", nullptr}, "decoder"},
  };
  for (const auto& entry : cases) {
    const auto& change = entry.first;
    const std::string& sentence = entry.second;
    CAPTURE(change.first);
    CAPTURE(change.second.dump());
    const std::string error = error_with(change.first, change.second);
    CAPTURE(error);
    CHECK(says(error, "tokenizer.json"));
    CHECK(says(error, sentence));
  }
}

TEST_CASE("tokenizer.json: sequences nested too deeply, text that is not UTF-8, parts of a wrong type") {
  Json nested = {{"type", "NFC"}};
  for (int i = 0; i < 1000; ++i) nested = Json{{"type", "Sequence"}, {"normalizers", Json::array({nested})}};
  CHECK(says(error_with("/normalizer", nested), "nested too deeply"));
  std::string bad = tiny_json().dump();
  bad[bad.find("NFC")] = '\xFF';
  CHECK(says(load_error({{"tokenizer.json", bad}}), "not valid JSON"));
  CHECK(says(load_error({{"tokenizer.json", "[1]"}}), "expected a JSON object"));
  for (const char* key :
       {"added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder", "model"}) {
    CHECK_FALSE(error_with(std::string("/") + key, 17).empty());
    CHECK_FALSE(error_with(std::string("/") + key, "text").empty());
  }
}

TEST_CASE("side files that are malformed are named") {
  const auto error = [](const std::string& name, const std::string& bytes) {
    return load_error({{"tokenizer.json", tiny_json().dump()}, {name, bytes}});
  };
  CHECK(says(error("tokenizer_config.json", "{"), "tokenizer_config.json"));
  CHECK(says(error("tokenizer_config.json", R"({"bos_token": 3})"), "'bos_token'"));
  CHECK(says(error("tokenizer_config.json", R"({"add_bos_token": "yes"})"), "'add_bos_token'"));
  CHECK(says(error("tokenizer_config.json", R"({"added_tokens_decoder": {"x": {}}})"), "'x' is no token id"));
  CHECK(says(error("tokenizer_config.json", R"({"added_tokens_decoder": {"99999999999": {}}})"),
             "is no token id"));
  CHECK(says(error("tokenizer_config.json", R"({"added_tokens_decoder": {"3": {"content": "x"}}})"), "both"));
  CHECK(says(error("tokenizer_config.json", R"({"chat_template": 1})"), "'chat_template'"));
  CHECK(says(error("generation_config.json", R"({"eos_token_id": [-1]})"), "generation_config.json"));
  CHECK(says(error("special_tokens_map.json", "\xFF"), "special_tokens_map.json"));
}

TEST_CASE("files without a vocabulary are no tokenizer") {
  CHECK(load_tokenizer({}) == nullptr);
  CHECK(load_tokenizer({{"generation_config.json", "{}"}, {"vocab.json", "{}"}}) == nullptr);
  CHECK(generation_eos_ids({}).empty());
  CHECK(generation_eos_ids({{"generation_config.json", R"({"eos_token_id": 7})"}}) ==
        std::vector<std::int32_t>{7});
  CHECK(generation_eos_ids({{"generation_config.json", R"({"eos_token_id": [7, 3]})"}}) ==
        std::vector<std::int32_t>{7, 3});
}

std::string field(const void* value) {
  return {static_cast<const char*>(value), 4};
}

std::string llama2c_token(float score, std::int32_t length, const std::string& text) {
  return field(&score) + field(&length) + text;
}

TEST_CASE("tokenizer.bin: cut off anywhere within a token, and lengths that lie") {
  const std::int32_t longest = 5;
  std::string good = field(&longest) + llama2c_token(0, 5, "<unk>") + llama2c_token(0, 3, "<s>") +
                     llama2c_token(0, 4, "</s>");
  const std::size_t specials = good.size();
  good += llama2c_token(-1, 1, "a") + llama2c_token(-2, 0, "");
  CHECK(load_error({{"tokenizer.bin", good}}).empty());
  for (std::size_t size = 0; size < good.size(); ++size) {
    const bool whole = size == specials || size == specials + 9;
    CHECK(says(load_error({{"tokenizer.bin", good.substr(0, size)}}), "tokenizer.bin") != whole);
  }
  for (const std::int32_t length : {-1, INT32_MIN, INT32_MAX, 6}) {
    const std::string bad = good + llama2c_token(0, length, "abcdef");
    CHECK(says(load_error({{"tokenizer.bin", bad}}), "tokenizer.bin"));
  }
  CHECK(says(load_error({{"tokenizer.bin", good + llama2c_token(NAN, 1, "b")}}), "not a number"));
}

TEST_CASE("tokenizer.model: garbage") {
  CHECK(says(load_error({{"tokenizer.model", ""}}), "tokenizer.model"));
  CHECK(says(load_error({{"tokenizer.model", "garbage"}}), "tokenizer.model"));
  CHECK(says(load_error({{"tokenizer.model", random_text(1, 1000)}}), "tokenizer.model"));
  if (const auto files = test_tokenizer({{"tokenizer.model", "llama2c/tok105/tok105.model"}})) {
    const std::string& good = files->begin()->second;
    for (std::size_t size = 0; size < 200; ++size) {
      const std::string error = load_error({{"tokenizer.model", good.substr(0, size)}});
      if (!error.empty()) CHECK(says(error, "tokenizer.model"));
    }
  }
}

TEST_CASE("GGUF metadata: what is wrong is named") {
  const Json good = Json::parse(R"({
    "tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": ["<unk>", "<s>", "a"], "tokenizer.ggml.scores": [0, 0, 0],
    "tokenizer.ggml.token_type": [2, 3, 1], "tokenizer.ggml.bos_token_id": 1})");
  const auto error = [&good](const char* key, const Json& value) {
    Json json = good;
    json[std::string("tokenizer.ggml.") + key] = value;
    return load_error({{"gguf_tokenizer.json", json.dump()}});
  };
  CHECK(error("bos_token_id", 1).empty());
  CHECK(says(error("model", "bert"), "'bert' is not supported"));
  CHECK(says(error("tokens", Json::array()), "0 tokens"));
  CHECK(says(error("tokens", 7), "expected an array"));
  CHECK(says(error("tokens", Json::array({1, 2, 3})), "expected a string"));
  CHECK(says(error("scores", Json::array({0, 0})), "2 scores for 3 pieces"));
  CHECK(says(error("scores", Json::array({0, 0, "x"})), "expected numbers"));
  CHECK(says(error("token_type", Json::array({2})), "1 types for 3 tokens"));
  CHECK(says(error("token_type", Json::array({2, 3, 6})), "names none"));
  CHECK(says(error("token_type", Json::array({1, 1, 1})), "unknown piece"));
  CHECK(says(error("bos_token_id", 3), "token id 3 in a vocabulary of 3"));
  CHECK(says(error("bos_token_id", 4294967295U), "not within"));
  CHECK(says(error("add_bos_token", 1), "expected true or false"));
  CHECK(says(error("model", "gpt2"), "tokenizer.ggml.merges"));
  Json bytes = good;
  bytes["tokenizer.ggml.model"] = "gpt2";
  bytes["tokenizer.ggml.merges"] = Json::array({"a c"});
  CHECK(says(load_error({{"gguf_tokenizer.json", bytes.dump()}}), "not in the vocabulary"));
}

TEST_CASE("vocab.json and merges.txt") {
  const auto error = [](const std::string& vocab, const std::string& merges) {
    return load_error({{"vocab.json", vocab}, {"merges.txt", merges}});
  };
  CHECK(error(R"({"a": 0, "b": 1, "ab": 2})", "#version: 0.2\r\na b\r\n").empty());
  CHECK(says(error("{", ""), "vocab.json"));
  CHECK(says(error(R"({"a": 0})", "a b\n"), "'b', which is not in the vocabulary"));
  CHECK(says(error(R"({"a": 0})", "a\n"), "merge 0"));
}

}  // namespace
}  // namespace spqr
