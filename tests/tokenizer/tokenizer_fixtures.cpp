#include "tests/tokenizer/tokenizer_fixtures.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <random>
#include <stdexcept>

#include "tests/test_data.h"
#include "tokenizer/utf8.h"

namespace spqr {

std::string read_bytes(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot open " + path.string());
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::string fixture(const std::string& name) {
  return read_bytes(std::filesystem::path(SPQR_FIXTURES) / "tokenizers" / name);
}

std::optional<TokenizerFiles> test_tokenizer(const std::vector<std::pair<std::string, std::string>>& files) {
  TokenizerFiles found;
  for (const auto& [name, relative] : files) {
    const std::optional<std::filesystem::path> path = test_data(relative);
    if (!path) return std::nullopt;
    found[name] = read_bytes(*path);
  }
  return found;
}

TokenizerFiles smollm2_files() {
  return {{"tokenizer.json", fixture("smollm2/tokenizer.json")},
          {"tokenizer_config.json", fixture("smollm2/tokenizer_config.json")}};
}

TokenizerFiles as_gguf(const std::string& tokenizer_json, const std::string& pre) {
  const nlohmann::json json = nlohmann::json::parse(tokenizer_json);
  std::vector<std::string> tokens(json["model"]["vocab"].size() + json["added_tokens"].size());
  std::vector<int> types(tokens.size(), 1);
  std::size_t count = 0;
  const auto put = [&](std::size_t id, const std::string& text, int type) {
    tokens.at(id) = text;
    types.at(id) = type;
    count = std::max(count, id + 1);
  };
  for (const auto& [token, id] : json["model"]["vocab"].items()) put(id.get<std::size_t>(), token, 1);
  for (const auto& token : json["added_tokens"]) {
    put(token["id"].get<std::size_t>(), token["content"], token["special"].get<bool>() ? 3 : 4);
  }
  tokens.resize(count);
  types.resize(count);
  std::vector<std::string> merges;
  for (const auto& merge : json["model"]["merges"]) {
    merges.push_back(merge.is_string() ? merge.get<std::string>()
                                       : merge[0].get<std::string>() + " " + merge[1].get<std::string>());
  }
  const nlohmann::json gguf{{"tokenizer.ggml.model", "gpt2"},       {"tokenizer.ggml.pre", pre},
                            {"tokenizer.ggml.tokens", tokens},      {"tokenizer.ggml.token_type", types},
                            {"tokenizer.ggml.merges", merges},      {"tokenizer.ggml.bos_token_id", 1},
                            {"tokenizer.ggml.eos_token_id", 2},     {"tokenizer.ggml.add_bos_token", false},
                            {"tokenizer.chat_template", "template"}};
  return {{"gguf_tokenizer.json", gguf.dump()}};
}

std::vector<std::pair<std::string, std::unique_ptr<Tokenizer>>> all_tokenizers() {
  std::vector<std::pair<std::string, std::unique_ptr<Tokenizer>>> all;
  all.emplace_back("smollm2", load_tokenizer(smollm2_files()));
  for (const auto& entry : nlohmann::json::parse(fixture("synthetic.json"))) {
    all.emplace_back(entry["name"], load_tokenizer({{"tokenizer.json", entry["tokenizer"].dump()}}));
  }
  const std::vector<std::pair<std::string, std::vector<std::pair<std::string, std::string>>>> external{
      {"gpt-2",
       {{"vocab.json", "tokenizers/gpt2/gpt2-vocab.json"},
        {"merges.txt", "tokenizers/gpt2/gpt2-merges.txt"}}},
      {"falcon", {{"tokenizer.json", "tokenizers/falcon-7b/tokenizer.json"}}},
      {"llama", {{"tokenizer.model", "tokenizers/llama/tokenizer.model"}}},
      {"llama of llama2.c", {{"tokenizer.bin", "tokenizers/llama/tokenizer.bin"}}},
      {"tok512", {{"tokenizer.bin", "llama2c/tok512.bin"}}},
      {"tok4096", {{"tokenizer.bin", "llama2c/tok4096.bin"}}},
      {"tok105", {{"tokenizer.model", "llama2c/tok105/tok105.model"}}},
      {"tinystories-656k",
       {{"tokenizer.json", "tinystories-656k/tokenizer.json"},
        {"tokenizer_config.json", "tinystories-656k/tokenizer_config.json"}}},
  };
  for (const auto& [name, files] : external) {
    if (const std::optional<TokenizerFiles> found = test_tokenizer(files)) {
      all.emplace_back(name, load_tokenizer(*found));
    }
  }
  return all;
}

std::string load_error(const TokenizerFiles& files) {
  try {
    load_tokenizer(files);
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return {};
}

std::string random_text(std::uint32_t seed, std::size_t characters) {
  std::mt19937 random(seed);
  constexpr std::uint32_t kLimits[] = {0x80, 0x80, 0x800, 0x3000, 0x10000, 0x110000};
  std::string text;
  while (characters > 0) {
    auto code = static_cast<char32_t>(random() % kLimits[random() % 6]);
    if (random() % 4 == 0) code = U" \n\t0a'"[random() % 6];
    if (code >= 0xD800 && code < 0xE000) continue;
    for (auto run = random() % 8 == 0 ? random() % 9 : 1; run > 0 && characters > 0; --run, --characters) {
      append_utf8(text, code);
    }
  }
  return text;
}

}  // namespace spqr
