#include "tokenizer/utf8.h"

#include <doctest/doctest.h>

#include <cstdint>

namespace spqr {
namespace {

TEST_CASE("every code point survives writing and reading") {
  for (char32_t code = 0; code < 0x110000; ++code) {
    if (code == 0xD800) code = 0xE000;
    std::string text;
    append_utf8(text, code);
    const Utf8Char character = utf8_char(text, 0);
    const bool survives = character.state == Utf8Char::State::valid && character.code == code &&
                          character.bytes == text.size() && utf8_length(text[0]) == text.size();
    if (!survives) FAIL("code point ", static_cast<std::uint32_t>(code));
  }
}

// Table 3-8 of the Unicode standard and the examples around it: one U+FFFD per maximal subpart.
TEST_CASE("invalid bytes become U+FFFD, one for each maximal subpart") {
  const std::string r = "\xEF\xBF\xBD";
  CHECK(repair_utf8("a\xF1\x80\x80\xE1\x80\xC2"
                    "b\x80"
                    "c\x80\xBF"
                    "d") == "a" + r + r + r + "b" + r + "c" + r + r + "d");
  CHECK(repair_utf8("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82"
                    "A") == r + r + r + r + r + r + r + r + "A");
  CHECK(repair_utf8("\xED\xA0\x80\xED\xBF\xBF\xED\xAF"
                    "A") == r + r + r + r + r + r + r + r + "A");
  CHECK(repair_utf8("\xF4\x91\x92\x93\xFF"
                    "A\x80\xBF"
                    "B") == r + r + r + r + r + "A" + r + r + "B");
  CHECK(repair_utf8("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF"
                    "A") == r + r + r + r + "A");
  CHECK(repair_utf8("\xF0\x9F\x98") == r);
  CHECK(is_valid_utf8("\xF0\x9F\x98\x80"));
  CHECK_FALSE(is_valid_utf8("\xF0\x9F\x98"));
}

TEST_CASE("text that cannot command a terminal") {
  CHECK(printable("a\tb\n\u00e9\u00a0") == "a\tb\n\u00e9\u00a0");
  CHECK(printable("\033[31m\r\x7f\u0085\u009b") == "\\x1b[31m\\x0d\\x7f\\x85\\x9b");
  CHECK(printable("\xff\033") == "\xEF\xBF\xBD\\x1b");
  CHECK(printable(std::string_view("\0", 1)) == "\\x00");
}

}  // namespace
}  // namespace spqr
