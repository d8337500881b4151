#include "tokenizer/jinja_literals.h"

#include <algorithm>
#include <cstddef>

namespace spqr {
namespace {

// The string that begins with the quote at `at`; moves `at` behind it.
std::string quoted(std::string_view source, std::size_t& at) {
  const char quote = source[at++];
  std::string text;
  while (at < source.size() && source[at] != quote) {
    char c = source[at++];
    if (c == '\\' && at < source.size()) {
      c = source[at++];
      if (c == 'n') c = '\n';
      if (c == 't') c = '\t';
      if (c == 'r') c = '\r';
    }
    text += c;
  }
  if (at < source.size()) ++at;
  return text;
}

}  // namespace

std::vector<std::string> jinja_literals(std::string_view source) {
  std::vector<std::string> literals;
  std::string outside;
  const auto flush = [&] {
    if (!outside.empty()) literals.push_back(outside);
    outside.clear();
  };
  for (std::size_t at = 0; at < source.size();) {
    const std::string_view rest = source.substr(at);
    if (rest.starts_with("{#")) {
      at = std::min(source.size(), source.find("#}", at) == std::string_view::npos
                                       ? source.size()
                                       : source.find("#}", at) + 2);
    } else if (rest.starts_with("{{") || rest.starts_with("{%")) {
      flush();
      const std::string_view close = rest[1] == '{' ? "}}" : "%}";
      for (at += 2; at < source.size() && !source.substr(at).starts_with(close);) {
        if (source[at] == '\'' || source[at] == '"') {
          literals.push_back(quoted(source, at));
        } else {
          ++at;
        }
      }
      at = std::min(source.size(), at + 2);
    } else {
      outside += source[at++];
    }
  }
  flush();
  return literals;
}

}  // namespace spqr
