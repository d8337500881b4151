// UTF-8 text as bytes: characters, repair of invalid sequences, the few Unicode properties that tokenizers
// ask for.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace spqr {

inline constexpr char32_t kReplacementCharacter = 0xFFFD;

struct Utf8Char {
  enum class State : unsigned char {
    valid,
    invalid,     // `bytes` is the maximal subpart that one U+FFFD replaces (Unicode standard, section 3.9)
    incomplete,  // the text ends inside of a character that may still become valid
  };
  char32_t code = kReplacementCharacter;  // of a valid character
  std::size_t bytes = 1;                  // that it takes, at least 1
  State state = State::invalid;
};

// The character at text[at]; at < text.size().
Utf8Char utf8_char(std::string_view text, std::size_t at);

bool is_valid_utf8(std::string_view text);
// Every maximal invalid subpart becomes U+FFFD.
std::string repair_utf8(std::string_view text);
void append_utf8(std::string& text, char32_t code);
// Repaired, and control characters other than line ends and tabs written out ("\x1b"): text of a file that
// cannot command a terminal.
std::string printable(std::string_view text);

// Bytes of the character that starts with the byte `first`, in valid UTF-8.
std::size_t utf8_length(char first);

// All occurrences of `from` (not empty) become `to`.
std::string replace_all(std::string_view text, std::string_view from, std::string_view to);

bool is_unicode_number(char32_t code);       // categories Nd, Nl, No
bool is_unicode_punctuation(char32_t code);  // ASCII punctuation and symbols, categories P*
bool is_unicode_space(char32_t code);        // property White_Space
bool is_unicode_word(char32_t code);         // letters, marks, decimal digits, connectors: \w
char32_t lower_case(char32_t code);          // the one character it becomes
char32_t title_case(char32_t code);

}  // namespace spqr
