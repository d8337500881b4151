#include "tokenizer/token_decoder.h"

#include <fmt/core.h>

#include <charconv>

#include "tokenizer/byte_alphabet.h"
#include "tokenizer/utf8.h"

namespace spqr {
namespace {

constexpr int kMaxDepth = 8;

}  // namespace

TokenDecoder TokenDecoder::parse(const Json& description, const std::string& where) {
  TokenDecoder result;
  if (description.is_null()) fail(where, "no decoder: tokens that are joined by spaces are not supported");
  result.add(description, where, 0);
  return result;
}

void TokenDecoder::add(const Json& description, const std::string& where, int depth) {
  if (depth > kMaxDepth) fail(where, "sequences are nested too deeply");
  const std::string type = string_field(description, "type", where);
  if (type == "Sequence") {
    const Json& parts = require(description, "decoders", where);
    if (!parts.is_array()) fail(where, "'decoders' is not an array");
    for (const Json& part : parts) add(part, where, depth + 1);
    return;
  }
  if (type == "Fuse") {
    fused_ = true;
    return;
  }
  if (type == "Strip") return add_strip(description, where);
  if (fused_) fail(where, fmt::format("decoder '{}' after Fuse is not supported", type));
  if (type == "ByteLevel") {
    steps_.push_back({Kind::byte_level, {}, {}});
  } else if (type == "ByteFallback") {
    steps_.push_back({Kind::byte_fallback, {}, {}});
  } else if (type == "Metaspace") {
    add_metaspace(description, where);
  } else if (type == "Replace") {
    const Json& pattern = require(description, "pattern", where);
    if (find_member(pattern, "Regex") != nullptr)
      fail(where, "Replace by a regular expression is not supported");
    const std::string from = string_field(pattern, "String", where);
    if (from.empty()) fail(where, "replaces an empty string");
    steps_.push_back({Kind::replace, from, string_field(description, "content", where)});
  } else {
    fail(where, fmt::format("decoder '{}' is not supported", type));
  }
}

void TokenDecoder::add_strip(const Json& description, const std::string& where) {
  const std::int64_t start = integer_of(require(description, "start", where), where + ": 'start'");
  const std::int64_t stop = integer_of(require(description, "stop", where), where + ": 'stop'");
  if (!fused_ || start < 0 || start > 1 || stop != 0) {
    fail(where, "only a Strip of one character at the start, after Fuse, is supported");
  }
  if (start == 1) dropped_prefix_ = string_field(description, "content", where);
}

void TokenDecoder::add_metaspace(const Json& description, const std::string& where) {
  const std::string replacement = string_field(description, "replacement", where);
  if (replacement.empty()) fail(where, "'replacement' is empty");
  steps_.push_back({Kind::replace, replacement, " "});
  bool prepends = bool_field(description, "add_prefix_space", true, where);
  if (find_member(description, "prepend_scheme") != nullptr) {
    prepends = string_field(description, "prepend_scheme", where) != "never";
  }
  if (prepends) dropped_prefix_.assign(1, ' ');
}

std::string TokenDecoder::bytes(std::string_view token) const {
  std::string text(token);
  for (const Step& step : steps_) {
    switch (step.kind) {
      case Kind::byte_level:
        text = alphabet_to_bytes(text);
        break;
      case Kind::replace:
        text = replace_all(text, step.from, step.to);
        break;
      case Kind::byte_fallback:
        if (const int byte = fallback_byte(text); byte >= 0) text.assign(1, static_cast<char>(byte));
        break;
    }
  }
  return text;
}

int fallback_byte(std::string_view token) {
  if (token.size() != 6 || token.substr(0, 3) != "<0x" || token[5] != '>') return -1;
  int byte = 0;
  const auto [end, error] = std::from_chars(token.data() + 3, token.data() + 5, byte, 16);
  return error == std::errc() && end == token.data() + 5 ? byte : -1;
}

}  // namespace spqr
