#include "tokenizer/text_limits.h"

#include <fmt/core.h>

#include <stdexcept>

#include "tokenizer/utf8.h"

namespace spqr {

void check_text_size(std::string_view text) {
  constexpr std::size_t kLargest = std::size_t{1} << 30U;
  if (text.size() > kLargest) {
    throw std::length_error(fmt::format("a text of {} bytes is too long to tokenize at once (at most {})",
                                        text.size(), kLargest));
  }
}

std::string_view checked_text(std::string_view text, std::string& memory) {
  check_text_size(text);
  if (is_valid_utf8(text)) return text;
  memory = repair_utf8(text);
  return memory;
}

std::string finish_text(std::string_view text, std::string_view dropped_prefix) {
  if (!dropped_prefix.empty() && text.substr(0, dropped_prefix.size()) == dropped_prefix) {
    text.remove_prefix(dropped_prefix.size());
  }
  return repair_utf8(text);
}

}  // namespace spqr
