// LLaMA 3's tokenizer.model as Meta publishes it: lines of a token in base64 and its rank, which is its id.
// tiktoken joins whatever makes the token of lowest rank: with a merge for every way to make a token, in
// order of ranks, that is byte-level BPE.
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <tuple>
#include <utility>

#include "tokenizer/bpe_tokenizer.h"
#include "tokenizer/byte_alphabet.h"
#include "tokenizer/gguf_pretokenizers.h"

namespace spqr {
namespace {

constexpr const char* kFile = "tokenizer.tiktoken";
constexpr std::size_t kLongestToken = 256;
constexpr int kSpecialTokens = 256;
// Their first ones, as LLaMA 3.1 has them; those of 3.0 that are different it never uses.
constexpr std::array kNamed{"<|begin_of_text|>",
                            "<|end_of_text|>",
                            "<|reserved_special_token_0|>",
                            "<|reserved_special_token_1|>",
                            "<|finetune_right_pad_id|>",
                            "<|reserved_special_token_2|>",
                            "<|start_header_id|>",
                            "<|end_header_id|>",
                            "<|eom_id|>",
                            "<|eot_id|>",
                            "<|python_tag|>"};

int base64_digit(char c) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const std::size_t digit = kDigits.find(c);
  return digit == std::string_view::npos ? -1 : static_cast<int>(digit);
}

// Empty: it is no base64.
std::string from_base64(std::string_view text) {
  if (text.size() % 4 != 0) return {};
  std::size_t padding = 0;
  while (padding < 2 && text.ends_with('=')) {
    text.remove_suffix(1);
    ++padding;
  }
  std::string bytes;
  unsigned bits = 0;
  int held = 0;
  for (const char c : text) {
    const int digit = base64_digit(c);
    if (digit < 0) return {};
    bits = bits << 6U | static_cast<unsigned>(digit);
    held += 6;
    if (held < 8) continue;
    held -= 8;
    bytes += static_cast<char>(bits >> static_cast<unsigned>(held) & 0xFFU);
  }
  return bytes;
}

// In order of rank.
std::vector<std::string> read_tokens(std::string_view text) {
  std::vector<std::string> tokens;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = text.substr(at, end - at);
    at = end + 1;
    if (line.empty()) continue;
    const std::size_t space = std::min(line.find(' '), line.size());
    std::string token = from_base64(line.substr(0, space));
    std::size_t rank = 0;
    const std::string_view digits = line.substr(std::min(space + 1, line.size()));
    const auto [stop, error] = std::from_chars(digits.data(), digits.data() + digits.size(), rank);
    if (token.empty() || token.size() > kLongestToken || error != std::errc() || rank != tokens.size() ||
        rank >= static_cast<std::size_t>(kMaxVocabSize - kSpecialTokens))
      fail(kFile, fmt::format("line {} is not a token in base64 and its rank, {}", tokens.size() + 1,
                              tokens.size()));
    tokens.push_back(std::move(token));
  }
  return tokens;
}

std::vector<std::pair<std::string, std::string>> merges_of(const std::vector<std::string>& tokens,
                                                           const IdByText& ranks) {
  std::vector<std::pair<std::string, std::string>> merges;
  for (const std::string& token : tokens) {
    std::vector<std::pair<std::int32_t, std::int32_t>> ways;
    for (std::size_t cut = 1; cut < token.size(); ++cut) {
      const auto left = ranks.find(std::string_view(token).substr(0, cut));
      const auto right = ranks.find(std::string_view(token).substr(cut));
      if (left != ranks.end() && right != ranks.end()) ways.emplace_back(left->second, right->second);
    }
    std::sort(ways.begin(), ways.end());
    for (const auto& [left, right] : ways)
      merges.emplace_back(bytes_to_alphabet(tokens[static_cast<std::size_t>(left)]),
                          bytes_to_alphabet(tokens[static_cast<std::size_t>(right)]));
  }
  return merges;
}

}  // namespace

std::unique_ptr<Tokenizer> load_tiktoken(const std::string& bytes, const TokenizerFiles& files) {
  const std::vector<std::string> tokens = read_tokens(bytes);
  const auto count = static_cast<std::int32_t>(tokens.size());
  IdByText ranks;
  Vocabulary vocabulary;
  for (std::int32_t id = 0; id < count; ++id) {
    const std::string& token = tokens[static_cast<std::size_t>(id)];
    if (!ranks.emplace(token, id).second) fail(kFile, fmt::format("line {} repeats a token", id + 1));
    vocabulary.add(id, bytes_to_alphabet(token));
  }
  const GgufPreTokenizer llama3 = gguf_pretokenizer("llama-bpe", kFile);
  BpeOptions options;
  options.ignore_merges = llama3.ignore_merges;
  BpeTokenizerParts parts{Normalizer(),
                          PreTokenizer::parse(llama3.pre_tokenizer, kFile),
                          BpeModel(std::move(vocabulary), merges_of(tokens, ranks), options, kFile),
                          TokenDecoder::parse({{"type", "ByteLevel"}}, kFile),
                          {},
                          {}};
  for (std::int32_t i = 0; i < kSpecialTokens; ++i) {
    AddedToken token;
    const auto named = static_cast<std::int32_t>(kNamed.size());
    // The reserved ones go on with 3 behind the named.
    token.content = i < named ? kNamed[static_cast<std::size_t>(i)]
                              : fmt::format("<|reserved_special_token_{}|>", i - named + 3);
    token.id = count + i;
    token.special = true;
    parts.added_tokens.push_back(token);
  }
  parts.defaults.roles = {.bos = count, .eos = count + 1};
  parts.defaults.eos = {count + 1};
  parts.defaults.prefix = {count};
  return make_bpe_tokenizer(std::move(parts), files, kFile);
}

}  // namespace spqr
