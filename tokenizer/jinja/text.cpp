#include "tokenizer/jinja/text.h"

#include <algorithm>
#include <utility>

namespace spqr::jinja {
namespace {

bool in_set(char32_t c, const std::string* characters) {
  if (characters == nullptr) return is_space(c);
  for (std::size_t at = 0; at < characters->size();) {
    if (next_code_point(*characters, at) == c) return true;
  }
  return false;
}

}  // namespace

Text Text::of_message(std::string bytes, std::size_t message) {
  Text text(std::move(bytes));
  if (!text.empty()) text.marks_.push_back({{0, text.size()}, message});
  return text;
}

Text& Text::operator+=(const Text& other) {
  const std::size_t shift = bytes_.size();
  for (const Mark& mark : other.marks_) {
    const TextRange range{mark.range.begin + shift, mark.range.end + shift};
    if (!marks_.empty() && marks_.back().range.end == range.begin && marks_.back().message == mark.message) {
      marks_.back().range.end = range.end;
    } else {
      marks_.push_back({range, mark.message});
    }
  }
  bytes_ += other.bytes_;
  return *this;
}

Text Text::operator+(const Text& other) const {
  Text sum = *this;
  sum += other;
  return sum;
}

Text Text::slice(std::size_t begin, std::size_t end) const {
  Text part(bytes_.substr(begin, end - begin));
  for (const Mark& mark : marks_) {
    const std::size_t from = std::max(mark.range.begin, begin);
    const std::size_t to = std::min(mark.range.end, end);
    if (from < to) part.marks_.push_back({{from - begin, to - begin}, mark.message});
  }
  return part;
}

Text Text::rewritten(std::string bytes) const {
  return marks_.empty() ? Text(std::move(bytes)) : of_message(std::move(bytes), marks_.front().message);
}

Text Text::mapped(std::string bytes) const {
  Text text(std::move(bytes));
  text.marks_ = marks_;
  return text;
}

bool is_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

char32_t next_code_point(std::string_view text, std::size_t& at) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(at++);
  const std::size_t more = first >= 0xF0 ? 3 : first >= 0xE0 ? 2 : first >= 0xC0 ? 1 : 0;
  if (more == 0 || at + more > text.size()) return first;
  char32_t c = first & (0x3FU >> more);
  for (std::size_t i = 0; i < more; ++i) {
    if ((byte(at + i) & 0xC0U) != 0x80U) return first;
    c = c << 6 | (byte(at + i) & 0x3FU);
  }
  at += more;
  return c;
}

Text strip_left(const Text& text, const std::string* characters) {
  std::size_t begin = 0;
  for (std::size_t at = 0; at < text.size(); begin = at) {
    if (!in_set(next_code_point(text.bytes(), at), characters)) break;
  }
  return text.slice(begin, text.size());
}

Text strip_right(const Text& text, const std::string* characters) {
  std::size_t end = 0;
  for (std::size_t at = 0; at < text.size();) {
    if (!in_set(next_code_point(text.bytes(), at), characters)) end = at;
  }
  return text.slice(0, end);
}

std::vector<std::size_t> code_point_offsets(const std::string& text) {
  std::vector<std::size_t> offsets{0};
  for (std::size_t at = 0; at < text.size(); offsets.push_back(at)) next_code_point(text, at);
  return offsets;
}

}  // namespace spqr::jinja
