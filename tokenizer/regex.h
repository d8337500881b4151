// A regular expression over valid UTF-8, by pcre2 (compiled to machine code where pcre2 can).
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/text_range.h"

namespace spqr {

class Regex {
 public:
  // `pattern` in the syntax of Oniguruma as tokenizer.json files use it: \s and \S mean the Unicode property
  // White_Space. Throws std::runtime_error with pcre2's reason.
  explicit Regex(const std::string& pattern);

  // Non-empty matches, from left to right, without overlaps. `text` is valid UTF-8. Throws std::runtime_error
  // where a pattern needs too many steps.
  void find_all(std::string_view text, std::vector<TextRange>& matches) const;

 private:
  std::shared_ptr<const void> code_;
};

}  // namespace spqr
