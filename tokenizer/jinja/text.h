// Text that remembers which of its bytes came from a conversation's messages, through everything a template
// does with it: what a person typed must never become a special token.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/text_range.h"

namespace spqr::jinja {

// Bytes of message number `message`.
struct Mark {
  TextRange range;
  std::size_t message = 0;
};

// UTF-8 bytes, and marks in the order of their places that do not overlap.
class Text {
 public:
  Text() = default;
  Text(std::string bytes) : bytes_(std::move(bytes)) {}  // NOLINT(google-explicit-constructor)
  Text(const char* bytes) : bytes_(bytes) {}             // NOLINT(google-explicit-constructor)
  // All of it from one message.
  static Text of_message(std::string bytes, std::size_t message);

  const std::string& bytes() const { return bytes_; }
  const std::vector<Mark>& marks() const { return marks_; }
  std::size_t size() const { return bytes_.size(); }
  bool empty() const { return bytes_.empty(); }
  bool operator==(const Text& other) const { return bytes_ == other.bytes_; }

  Text& operator+=(const Text& other);
  Text operator+(const Text& other) const;
  // Bytes [begin, end).
  Text slice(std::size_t begin, std::size_t end) const;
  // Other bytes in place of these; marked as a whole if any of it was.
  Text rewritten(std::string bytes) const;
  // Other bytes one for one.
  Text mapped(std::string bytes) const;

 private:
  std::string bytes_;
  std::vector<Mark> marks_;
};

// As Python's str has them: white space is Unicode's, places are code points.
bool is_space(char32_t c);
// The code point at `at`, which moves behind it; bytes that are no UTF-8 are taken one by one.
char32_t next_code_point(std::string_view text, std::size_t& at);
Text strip_left(const Text& text, const std::string* characters = nullptr);
Text strip_right(const Text& text, const std::string* characters = nullptr);
// Offsets of all code points, and the size.
std::vector<std::size_t> code_point_offsets(const std::string& text);

}  // namespace spqr::jinja
