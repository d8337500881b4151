// The kinds of steps that a pre-tokenizer is made of.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "tokenizer/pretokenizer.h"
#include "tokenizer/regex.h"

namespace spqr {

// What becomes of the matches of a split, tokenizers' SplitDelimiterBehavior.
enum class SplitBehavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };

SplitBehavior parse_split_behavior(const std::string& name, const std::string& where);

// Appends the matches in `text` to `ranges`: not empty, from left to right, without overlaps.
using Finder = std::function<void(std::string_view text, std::vector<TextRange>& ranges)>;

Finder regex_finder(const std::string& pattern, const std::string& where);
Finder string_finder(const std::string& text);
Finder character_finder(bool (*predicate)(char32_t));  // every such character is a match of its own

// invert: what lies between the matches is what matches.
std::shared_ptr<const PreTokenizer::Step> make_split_step(Finder finder, SplitBehavior behavior, bool invert);
// Optional leading space, optional split by GPT-2's pattern, then bytes as characters.
std::shared_ptr<const PreTokenizer::Step> make_byte_level_step(bool add_prefix_space, bool use_regex);

enum class PrependScheme { always, first, never };

// Spaces become `replacement`, one is put in front, and words begin at each replacement if `split`.
std::shared_ptr<const PreTokenizer::Step> make_metaspace_step(const std::string& replacement,
                                                              PrependScheme scheme, bool split);

}  // namespace spqr
