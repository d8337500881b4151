#include "tokenizer/pretokenizer_steps.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <stdexcept>
#include <utility>

#include "tokenizer/byte_alphabet.h"
#include "tokenizer/utf8.h"

namespace spqr {
namespace {

struct Part {
  TextRange range;
  bool is_match = false;
};

// All of `text` as matches and what lies between them.
std::vector<Part> parts_of(std::string_view text, const Finder& finder, bool invert) {
  std::vector<TextRange> matches;
  finder(text, matches);
  std::vector<Part> parts;
  parts.reserve(matches.size() * 2 + 1);
  std::size_t at = 0;
  for (const TextRange& match : matches) {
    if (match.begin > at) parts.push_back({{at, match.begin}, invert});
    parts.push_back({match, !invert});
    at = match.end;
  }
  if (at < text.size()) parts.push_back({{at, text.size()}, invert});
  return parts;
}

std::vector<TextRange> apply_behavior(const std::vector<Part>& parts, SplitBehavior behavior) {
  std::vector<TextRange> ranges;
  ranges.reserve(parts.size());
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const Part& part = parts[i];
    const bool previous_match = i > 0 && parts[i - 1].is_match;
    bool join = false;
    switch (behavior) {
      case SplitBehavior::removed:
        if (part.is_match) continue;
        break;
      case SplitBehavior::isolated:
        break;
      case SplitBehavior::merged_with_previous:
        join = i > 0 && part.is_match && !previous_match;
        break;
      case SplitBehavior::merged_with_next:
        join = i > 0 && !part.is_match && previous_match;
        break;
      case SplitBehavior::contiguous:
        join = i > 0 && part.is_match == previous_match;
        break;
    }
    if (join) {
      ranges.back().end = part.range.end;
    } else {
      ranges.push_back(part.range);
    }
  }
  return ranges;
}

class SplitStep final : public PreTokenizer::Step {
 public:
  SplitStep(Finder finder, SplitBehavior behavior, bool invert)
      : finder_(std::move(finder)), behavior_(behavior), invert_(invert) {}

  void split(std::string word, bool /*at_start*/, std::vector<std::string>& parts) const override {
    for (const TextRange& range : apply_behavior(parts_of(word, finder_, invert_), behavior_)) {
      parts.push_back(word.substr(range.begin, range.end - range.begin));
    }
  }

 private:
  Finder finder_;
  SplitBehavior behavior_;
  bool invert_;
};

class ByteLevelStep final : public PreTokenizer::Step {
 public:
  ByteLevelStep(bool add_prefix_space, bool use_regex) : add_prefix_space_(add_prefix_space) {
    if (use_regex) finder_ = regex_finder(kGpt2Pattern, "the pattern of GPT-2");
  }

  void split(std::string word, bool /*at_start*/, std::vector<std::string>& parts) const override {
    if (add_prefix_space_ && !word.empty() && word.front() != ' ') word.insert(word.begin(), ' ');
    if (!finder_) {
      parts.push_back(bytes_to_alphabet(word));
      return;
    }
    for (const Part& part : parts_of(word, finder_, false)) {
      parts.push_back(bytes_to_alphabet(
          std::string_view(word).substr(part.range.begin, part.range.end - part.range.begin)));
    }
  }

 private:
  bool add_prefix_space_;
  Finder finder_;
};

class MetaspaceStep final : public PreTokenizer::Step {
 public:
  MetaspaceStep(std::string replacement, PrependScheme scheme, bool split)
      : replacement_(std::move(replacement)), scheme_(scheme), split_(split) {}

  void split(std::string word, bool at_start, std::vector<std::string>& parts) const override {
    std::string text = replace_all(word, " ", replacement_);
    const bool prepend = scheme_ == PrependScheme::always || (scheme_ == PrependScheme::first && at_start);
    if (prepend && text.compare(0, replacement_.size(), replacement_) != 0) text.insert(0, replacement_);
    if (!split_) {
      parts.push_back(std::move(text));
      return;
    }
    const SplitStep words(string_finder(replacement_), SplitBehavior::merged_with_next, false);
    words.split(std::move(text), at_start, parts);
  }

 private:
  std::string replacement_;
  PrependScheme scheme_;
  bool split_;
};

}  // namespace

SplitBehavior parse_split_behavior(const std::string& name, const std::string& where) {
  static const std::array<std::pair<const char*, SplitBehavior>, 5> kNames{{
      {"Removed", SplitBehavior::removed},
      {"Isolated", SplitBehavior::isolated},
      {"MergedWithPrevious", SplitBehavior::merged_with_previous},
      {"MergedWithNext", SplitBehavior::merged_with_next},
      {"Contiguous", SplitBehavior::contiguous},
  }};
  for (const auto& [known, behavior] : kNames) {
    if (name == known) return behavior;
  }
  fail(where, fmt::format("split behavior '{}' is not supported", name));
}

Finder regex_finder(const std::string& pattern, const std::string& where) {
  try {
    return [regex = Regex(pattern)](std::string_view text, std::vector<TextRange>& ranges) {
      regex.find_all(text, ranges);
    };
  } catch (const std::runtime_error& error) {
    fail(where, error.what());
  }
}

Finder string_finder(const std::string& text) {
  return [wanted = text](std::string_view word, std::vector<TextRange>& ranges) {
    for (std::size_t at = word.find(wanted); at != std::string_view::npos;
         at = word.find(wanted, at + wanted.size())) {
      ranges.push_back({at, at + wanted.size()});
    }
  };
}

Finder character_finder(bool (*predicate)(char32_t)) {
  return [predicate](std::string_view word, std::vector<TextRange>& ranges) {
    for (std::size_t at = 0; at < word.size();) {
      const Utf8Char character = utf8_char(word, at);
      if (predicate(character.code)) ranges.push_back({at, at + character.bytes});
      at += character.bytes;
    }
  };
}

std::shared_ptr<const PreTokenizer::Step> make_split_step(Finder finder, SplitBehavior behavior,
                                                          bool invert) {
  return std::make_shared<SplitStep>(std::move(finder), behavior, invert);
}

std::shared_ptr<const PreTokenizer::Step> make_byte_level_step(bool add_prefix_space, bool use_regex) {
  return std::make_shared<ByteLevelStep>(add_prefix_space, use_regex);
}

std::shared_ptr<const PreTokenizer::Step> make_metaspace_step(const std::string& replacement,
                                                              PrependScheme scheme, bool split) {
  return std::make_shared<MetaspaceStep>(replacement, scheme, split);
}

}  // namespace spqr
