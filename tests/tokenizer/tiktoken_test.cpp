// LLaMA 3's kind of tokenizer.model. Expected ids: of the tiktoken library,
// tests/fixtures/tokenizers/tiktoken.json.
#include <doctest/doctest.h>
#include <fmt/core.h>

#include <map>

#include "tests/tokenizer/tokenizer_fixtures.h"
#include "tokenizer/byte_alphabet.h"

namespace spqr {
namespace {

using Ids = std::vector<std::int32_t>;

std::string base64(std::string_view bytes) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (std::size_t at = 0; at < bytes.size(); at += 3) {
    unsigned bits = 0;
    for (std::size_t i = 0; i < 3; ++i)
      bits = bits << 8U | (at + i < bytes.size() ? static_cast<unsigned char>(bytes[at + i]) : 0U);
    for (unsigned i = 0; i < 4; ++i)
      text += at + i > bytes.size() ? '=' : kDigits[bits >> (18U - 6U * i) & 63U];
  }
  return text;
}

std::string ranks_of(const std::vector<std::string>& tokens) {
  std::string text;
  for (std::size_t rank = 0; rank < tokens.size(); ++rank)
    text += fmt::format("{} {}\n", base64(tokens[rank]), rank);
  return text;
}

// SmolLM2's tokens, and the bytes that are none of them.
std::vector<std::string> smollm2_tokens() {
  const nlohmann::json json = nlohmann::json::parse(fixture("smollm2/tokenizer.json"));
  std::map<int, std::string> by_id;
  for (const auto& [token, id] : json["model"]["vocab"].items()) by_id[id] = token;
  for (const auto& token : json["added_tokens"]) by_id.erase(token["id"].get<int>());
  std::vector<std::string> tokens;
  std::map<std::string, bool> known;
  for (const auto& [id, token] : by_id) {
    tokens.push_back(alphabet_to_bytes(token));
    known[tokens.back()] = true;
  }
  for (int byte = 0; byte < 256; ++byte) {
    const std::string token(1, static_cast<char>(byte));
    if (!known[token]) tokens.push_back(token);
  }
  return tokens;
}

TEST_CASE("ranks give the ids of the tiktoken library, special tokens follow") {
  const std::vector<std::string> tokens = smollm2_tokens();
  const auto count = static_cast<std::int32_t>(tokens.size());
  const auto tokenizer = load_tokenizer({{"tokenizer.tiktoken", ranks_of(tokens)}});
  for (const auto& expected : nlohmann::json::parse(fixture("tiktoken.json"))) {
    CAPTURE(expected["text"].get<std::string>());
    const Ids ids = tokenizer->encode(expected["text"].get<std::string>(), kPlain);
    CHECK(ids == expected["ids"].get<Ids>());
    CHECK(tokenizer->decode(ids, false) == expected["text"].get<std::string>());
  }
  CHECK(tokenizer->vocab_size() == count + 256);
  CHECK(tokenizer->encode("", {}) == Ids{count});
  // As in LLaMA 3's configurations, where `count` is 128000.
  CHECK(tokenizer->roles().bos == count);
  CHECK(tokenizer->roles().eos == count + 1);
  CHECK(tokenizer->eos_ids() == Ids{count + 1, count + 8, count + 9});
  CHECK(tokenizer->find("<|begin_of_text|>") == count);
  CHECK(tokenizer->find("<|start_header_id|>") == count + 6);
  CHECK(tokenizer->find("<|reserved_special_token_3|>") == count + 11);
  CHECK(tokenizer->find("<|reserved_special_token_247|>") == count + 255);
  CHECK(tokenizer->encode("<|eot_id|>", {.add_special = false, .parse_special = true}) == Ids{count + 9});
}

TEST_CASE("lists that are damaged are refused by their line") {
  CHECK(load_error({{"tokenizer.tiktoken", ranks_of({"a", "b", "ab"})}}).empty());
  for (const char* text : {"YQ== 1\n", "YQ== 0\nYg== 0\n", "YQ==0\n", "YQ== \n", "Y 0\n", "Y?== 0\n", " 0\n",
                           "YQ== x\n", "YQ== 0\nYg== 99999999999999999999\n", "YQ== 0\nYQ== 1\n"}) {
    CAPTURE(text);
    CHECK(load_error({{"tokenizer.tiktoken", text}}).find("tokenizer.tiktoken: line ") == 0);
  }
  CHECK(load_error({{"tokenizer.tiktoken", base64(std::string(300, 'a')) + " 0\n"}}).find("line 1") !=
        std::string::npos);
}

}  // namespace
}  // namespace spqr
