// A template's source cut into texts and tags, and tags into tokens, as Jinja does with trim_blocks and
// lstrip_blocks (the settings of transformers).
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace spqr::jinja {

struct Token {
  enum class Kind { name, string, integer, number, symbol, end };
  Kind kind = Kind::end;
  std::string text;  // of a string its value
  int line = 0;
};

struct Piece {
  enum class Kind { text, output, statement };  // between tags, {{ }}, {% %}
  Kind kind = Kind::text;
  std::string text;           // of texts
  std::vector<Token> tokens;  // of tags, with an end
  int line = 0;
};

// Throws Unsupported for what is no template.
std::vector<Piece> lex(std::string_view source);

}  // namespace spqr::jinja
