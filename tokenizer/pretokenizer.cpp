#include "tokenizer/pretokenizer.h"

#include <fmt/core.h>

#include <utility>

#include "tokenizer/pretokenizer_steps.h"
#include "tokenizer/utf8.h"

namespace spqr {
namespace {

using StepPtr = std::shared_ptr<const PreTokenizer::Step>;

constexpr int kMaxDepth = 8;

// Unicode's \w: Alphabetic, marks, decimal digits, connectors and joiners.
constexpr const char* kWordCharacters =
    R"(\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}\x{200c}\x{200d}\x{24b6}-\x{24e9}\x{1f130}-\x{1f149}\x{1f150}-\x{1f169})"
    R"(\x{1f170}-\x{1f189})";

StepPtr parse_split(const Json& description, const std::string& where) {
  const Json& pattern = require(description, "pattern", where);
  Finder finder;
  if (const Json* regex = find_member(pattern, "Regex")) {
    finder = regex_finder(string_of(*regex, where), where);
  } else {
    const std::string text = string_field(pattern, "String", where + ": 'pattern'");
    if (text.empty()) fail(where, "splits by an empty string");
    finder = string_finder(text);
  }
  const SplitBehavior behavior = parse_split_behavior(string_field(description, "behavior", where), where);
  return make_split_step(std::move(finder), behavior, bool_field(description, "invert", false, where));
}

StepPtr parse_metaspace(const Json& description, const std::string& where) {
  const std::string replacement = string_field(description, "replacement", where);
  if (replacement.empty()) fail(where, "'replacement' is empty");
  PrependScheme scheme =
      bool_field(description, "add_prefix_space", true, where) ? PrependScheme::always : PrependScheme::never;
  if (find_member(description, "prepend_scheme") != nullptr) {
    const std::string name = string_field(description, "prepend_scheme", where);
    if (name == "always") {
      scheme = PrependScheme::always;
    } else if (name == "first") {
      scheme = PrependScheme::first;
    } else if (name == "never") {
      scheme = PrependScheme::never;
    } else {
      fail(where, fmt::format("prepend scheme '{}' is not supported", name));
    }
  }
  return make_metaspace_step(replacement, scheme, bool_field(description, "split", true, where));
}

StepPtr parse_punctuation(const Json& description, const std::string& where) {
  SplitBehavior behavior = SplitBehavior::isolated;
  if (find_member(description, "behavior") != nullptr) {
    behavior = parse_split_behavior(string_field(description, "behavior", where), where);
  }
  return make_split_step(character_finder(is_unicode_punctuation), behavior, false);
}

StepPtr parse_step(const Json& description, const std::string& type, const std::string& where) {
  if (type == "ByteLevel") {
    return make_byte_level_step(bool_field(description, "add_prefix_space", true, where),
                                bool_field(description, "use_regex", true, where));
  }
  if (type == "Digits") {
    const bool each = bool_field(description, "individual_digits", false, where);
    return make_split_step(character_finder(is_unicode_number),
                           each ? SplitBehavior::isolated : SplitBehavior::contiguous, false);
  }
  if (type == "Split") return parse_split(description, where);
  if (type == "Punctuation") return parse_punctuation(description, where);
  if (type == "Metaspace") return parse_metaspace(description, where);
  if (type == "WhitespaceSplit") {
    return make_split_step(character_finder(is_unicode_space), SplitBehavior::removed, false);
  }
  if (type == "Whitespace") {
    const std::string words = fmt::format("[{0}]+|[^\\s{0}]+", kWordCharacters);
    return make_split_step(regex_finder(words, where), SplitBehavior::removed, true);
  }
  fail(where, fmt::format("pre-tokenizer '{}' is not supported", type));
}

}  // namespace

PreTokenizer PreTokenizer::parse(const Json& description, const std::string& where) {
  PreTokenizer result;
  if (!description.is_null()) result.add(description, where, 0);
  return result;
}

void PreTokenizer::add(const Json& description, const std::string& where, int depth) {
  if (depth > kMaxDepth) fail(where, "sequences are nested too deeply");
  const std::string type = string_field(description, "type", where);
  if (type != "Sequence") {
    steps_.push_back(parse_step(description, type, where));
    return;
  }
  const Json& parts = require(description, "pretokenizers", where);
  if (!parts.is_array()) fail(where, "'pretokenizers' is not an array");
  for (const Json& part : parts) add(part, where, depth + 1);
}

std::vector<std::string> PreTokenizer::split(std::string text, bool at_start) const {
  std::vector<std::string> words;
  if (text.empty()) return words;
  words.push_back(std::move(text));
  for (const std::shared_ptr<const Step>& step : steps_) {
    std::vector<std::string> parts;
    parts.reserve(words.size() * 2);
    bool first = at_start;
    for (std::string& word : words) {
      step->split(std::move(word), first, parts);
      first = false;
    }
    words = std::move(parts);
  }
  return words;
}

}  // namespace spqr
