#include "tokenizer/added_tokens.h"

#include <fmt/core.h>

#include <algorithm>

#include "tokenizer/utf8.h"

namespace spqr {
namespace {

// Start of the character that ends before `at`; at > 0.
std::size_t previous_character(std::string_view text, std::size_t at) {
  do {
    --at;
  } while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0U) == 0x80U);
  return at;
}

bool is_single_word(std::string_view text, std::size_t begin, std::size_t end) {
  if (begin > 0 && is_unicode_word(utf8_char(text, previous_character(text, begin)).code)) return false;
  return end >= text.size() || !is_unicode_word(utf8_char(text, end).code);
}

std::size_t skip_spaces(std::string_view text, std::size_t at) {
  while (at < text.size()) {
    const Utf8Char character = utf8_char(text, at);
    if (!is_unicode_space(character.code)) break;
    at += character.bytes;
  }
  return at;
}

bool touches(std::span<const TextRange> ranges, std::size_t begin, std::size_t end) {
  return std::any_of(ranges.begin(), ranges.end(),
                     [&](const TextRange& range) { return range.begin < end && begin < range.end; });
}

std::size_t skip_spaces_back(std::string_view text, std::size_t at, std::size_t limit) {
  while (at > limit) {
    const std::size_t before = previous_character(text, at);
    if (!is_unicode_space(utf8_char(text, before).code)) break;
    at = before;
  }
  return at;
}

}  // namespace

AddedToken parse_added_token(const Json& description, std::int32_t id, const std::string& where) {
  AddedToken token;
  token.id = id;
  token.content = string_field(description, "content", where);
  if (token.content.empty()) fail(where, fmt::format("the added token {} is empty", id));
  token.special = bool_field(description, "special", false, where);
  token.single_word = bool_field(description, "single_word", false, where);
  token.lstrip = bool_field(description, "lstrip", false, where);
  token.rstrip = bool_field(description, "rstrip", false, where);
  token.normalized = bool_field(description, "normalized", !token.special, where);
  return token;
}

void AddedTokenFinder::add(const AddedToken& token) {
  std::uint32_t node = 0;
  for (const char c : token.content) {
    const auto byte = static_cast<unsigned char>(c);
    const auto next = static_cast<std::uint32_t>(token_at_node_.size());
    const auto [edge, is_new] = edges_.try_emplace(static_cast<std::uint64_t>(node) << 8U | byte, next);
    if (is_new) token_at_node_.push_back(-1);
    node = edge->second;
  }
  starts_[static_cast<unsigned char>(token.content.front())] = true;
  token_at_node_[node] = static_cast<std::int32_t>(tokens_.size());
  has_special_ = has_special_ || token.special;
  tokens_.push_back(token);
}

std::int32_t AddedTokenFinder::longest_at(std::string_view text, std::size_t at) const {
  if (!starts_[static_cast<unsigned char>(text[at])]) return -1;
  std::int32_t longest = -1;
  std::uint32_t node = 0;
  for (; at < text.size(); ++at) {
    const auto edge =
        edges_.find(static_cast<std::uint64_t>(node) << 8U | static_cast<unsigned char>(text[at]));
    if (edge == edges_.end()) break;
    node = edge->second;
    if (token_at_node_[node] >= 0) longest = token_at_node_[node];
  }
  return longest;
}

std::vector<TextSegment> AddedTokenFinder::split(std::string_view text, bool parse_special,
                                                 std::span<const TextRange> typed) const {
  std::vector<TextSegment> segments;
  std::size_t plain = 0;  // where the plain text before `at` begins
  const auto push = [&](std::size_t begin, std::size_t end, std::int32_t id) {
    if (end > begin) segments.push_back({text.substr(begin, end - begin), id});
  };
  for (std::size_t at = 0; at < text.size() && !tokens_.empty();) {
    const std::int32_t index = longest_at(text, at);
    if (index < 0) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[static_cast<std::size_t>(index)];
    std::size_t begin = at;
    std::size_t end = at + token.content.size();
    at = end;
    if (token.special && (!parse_special || touches(typed, begin, end))) continue;
    if (token.single_word && !is_single_word(text, begin, end)) continue;
    if (token.lstrip) begin = skip_spaces_back(text, begin, plain);
    if (token.rstrip) at = end = skip_spaces(text, end);
    push(plain, begin, -1);
    push(begin, end, token.id);
    plain = end;
  }
  push(plain, text.size(), -1);
  return segments;
}

}  // namespace spqr
