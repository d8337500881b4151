// Functions of Python's str.
#include <fmt/format.h>

#include "tokenizer/jinja/builtins.h"

namespace spqr::jinja {
namespace {

// Letters beyond ASCII have rules of their own, which no chat template needs.
template <typename Change>
Text changed(const Text& text, Change change) {
  std::string bytes = text.bytes();
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (static_cast<unsigned char>(bytes[i]) >= 0x80)
      throw Unsupported("upper and lower case of letters beyond ASCII are not supported");
    bytes[i] = change(bytes[i], i == 0 ? ' ' : text.bytes()[i - 1]);
  }
  return text.mapped(std::move(bytes));
}

bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
char to_upper(char c) {
  return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
}
char to_lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

}  // namespace

Text upper(const Text& text) {
  return changed(text, [](char c, char) { return to_upper(c); });
}

Text lower(const Text& text) {
  return changed(text, [](char c, char) { return to_lower(c); });
}

Text capitalize(const Text& text) {
  Text result = lower(text);
  return result.empty() ? result : upper(result.slice(0, 1)) + result.slice(1, result.size());
}

Text title(const Text& text) {
  return changed(text, [](char c, char before) { return is_letter(before) ? to_lower(c) : to_upper(c); });
}

Text title_filter(const Text& text) {
  return changed(text, [](char c, char before) {
    const bool begins = std::string_view(" \t\n\r\v\f-({[<").find(before) != std::string_view::npos;
    return begins ? to_upper(c) : to_lower(c);
  });
}

Text replace(const Text& text, const Text& from, const Text& to, std::int64_t count) {
  if (from.empty()) throw Unsupported("nothing is replaced by something");
  Text result;
  std::size_t plain = 0;
  for (std::size_t at = 0; count != 0 && (at = text.bytes().find(from.bytes(), plain)) != std::string::npos;
       --count) {
    result += text.slice(plain, at);
    result += to;
    if (result.size() > kMaxTextBytes) throw Unsupported("a text is too large");
    plain = at + from.size();
  }
  return result + text.slice(plain, text.size());
}

Text join(const Text& separator, const std::vector<Value>& items) {
  Text all;
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (i > 0) all += separator;
    all += to_text(items[i]);
    if (all.size() > kMaxTextBytes) throw Unsupported("a text is too large");
  }
  return all;
}

}  // namespace spqr::jinja
