// Tokens that are recognised in text as a whole, before anything else looks at it: special ones
// ("<|im_end|>") only where asked, others (Qwen's "<tool_call>") always, as Hugging Face's tokenizers has it.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "tokenizer/json_fields.h"
#include "tokenizer/tokenizer.h"

namespace spqr {

struct AddedToken {
  std::string content;
  std::int32_t id = -1;
  bool special = false;
  bool single_word = false;  // only where no letter or digit adjoins it
  bool lstrip = false;       // takes the white space on its left along
  bool rstrip = false;
  bool normalized = false;  // is looked for after the normalizer, not before
};

// One entry of "added_tokens", or of "added_tokens_decoder" with its key as `id`.
AddedToken parse_added_token(const Json& description, std::int32_t id, const std::string& where);

struct TextSegment {
  std::string_view text;  // of a token: what it matched
  std::int32_t id = -1;   // -1: plain text
};

// Finds the added tokens in a text: leftmost first, of several at one place the longest.
class AddedTokenFinder {
 public:
  void add(const AddedToken& token);  // content is not empty
  bool has_special() const { return has_special_; }

  // The whole text in order, without empty segments. Special tokens remain plain text unless `parse_special`,
  // and where they touch one of the ranges `typed`.
  std::vector<TextSegment> split(std::string_view text, bool parse_special,
                                 std::span<const TextRange> typed = {}) const;

 private:
  // Index of the longest token that `text` has at `at`; -1: none.
  std::int32_t longest_at(std::string_view text, std::size_t at) const;

  std::vector<AddedToken> tokens_;
  bool has_special_ = false;
  // A trie over bytes: node << 8 | byte -> node; node 0 is the root.
  std::unordered_map<std::uint64_t, std::uint32_t> edges_;
  std::vector<std::int32_t> token_at_node_ = {-1};
  bool starts_[256] = {};
};

}  // namespace spqr
