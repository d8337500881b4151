// Functions of Python's str.
#include <fmt/format.h>
#include <utf8proc.h>

#include "tokenizer/jinja/builtins.h"
#include "tokenizer/utf8.h"

namespace spqr::jinja {
namespace {

// A letter that becomes several, or another one at the end of a word, has rules of its own.
[[noreturn]] void refuse(const char* what) {
  throw Unsupported(fmt::format("{} of such letters is not supported", what));
}

bool has_special_upper(char32_t c) {
  return c == 0xDF || c == 0x149 || c == 0x1F0 || c == 0x390 || c == 0x3B0 || c == 0x587 ||
         (c >= 0x1E96 && c <= 0x1E9A) || (c >= 0x1F50 && c <= 0x1F56) || (c >= 0x1F80 && c <= 0x1FFF) ||
         (c >= 0xFB00 && c <= 0xFB17);
}

bool has_special_lower(char32_t c) {
  return c == 0x130 || c == 0x3A3;
}

std::string cased(std::string_view text, bool to_upper) {
  std::string result;
  for (std::size_t at = 0; at < text.size();) {
    const char32_t c = next_code_point(text, at);
    if (to_upper ? has_special_upper(c) : has_special_lower(c))
      refuse(to_upper ? "upper case" : "lower case");
    const auto code = static_cast<utf8proc_int32_t>(c);
    append_utf8(result, static_cast<char32_t>(to_upper ? utf8proc_toupper(code) : utf8proc_tolower(code)));
  }
  return result;
}

// What comes from a message and what does not are changed one by one.
Text cased(const Text& text, bool to_upper) {
  const std::string_view bytes = text.bytes();
  Text result;
  std::size_t plain = 0;
  for (const Mark& mark : text.marks()) {
    const auto [begin, end] = mark.range;
    result += cased(bytes.substr(plain, begin - plain), to_upper);
    result += Text::of_message(cased(bytes.substr(begin, end - begin), to_upper), mark.message);
    plain = end;
  }
  return result + cased(bytes.substr(plain), to_upper);
}

// Titles of letters beyond ASCII are not what any chat template needs.
template <typename Change>
Text changed(const Text& text, Change change) {
  std::string bytes = text.bytes();
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (static_cast<unsigned char>(bytes[i]) >= 0x80)
      throw Unsupported("titles of letters beyond ASCII are not supported");
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
  return cased(text, true);
}

Text lower(const Text& text) {
  return cased(text, false);
}

Text capitalize(const Text& text) {
  if (text.empty()) return text;
  std::size_t first = 0;
  const auto code = static_cast<utf8proc_int32_t>(next_code_point(text.bytes(), first));
  if (utf8proc_totitle(code) != utf8proc_toupper(code)) refuse("the title");
  return upper(text.slice(0, first)) + lower(text.slice(first, text.size()));
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
