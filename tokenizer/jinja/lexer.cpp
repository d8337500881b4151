#include "tokenizer/jinja/lexer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "tokenizer/jinja/text.h"
#include "tokenizer/jinja/value.h"
#include "tokenizer/utf8.h"

namespace spqr::jinja {
namespace {

// Line ends become \n, and one at the very end goes.
std::string normalized(std::string_view source) {
  std::string text;
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      text += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      text += source[i];
    }
  }
  if (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

bool is_name_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(normalized(source)) {}

  std::vector<Piece> run() {
    while (at_ < source_.size()) {
      const std::size_t open = next_tag();
      add_text(open);
      if (open >= source_.size()) break;
      at_ = open + 2;
      const char sign = at_ < source_.size() ? source_[at_] : ' ';
      if (sign == '-' || sign == '+') ++at_;
      const char kind = source_[open + 1];
      if (kind == '#') {
        skip_comment();
      } else if (kind == '%' && is_statement(at_, "raw")) {
        take_raw();
      } else {
        Piece piece{kind == '{' ? Piece::Kind::output : Piece::Kind::statement, {}, {}, line_};
        read_tag(piece, kind == '{' ? "}}" : "%}");
        pieces_.push_back(std::move(piece));
      }
    }
    return std::move(pieces_);
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw Unsupported(fmt::format("line {}: {}", line_, what));
  }

  std::size_t next_tag() const {
    for (std::size_t i = at_; i + 1 < source_.size(); ++i) {
      if (source_[i] == '{' && (source_[i + 1] == '{' || source_[i + 1] == '%' || source_[i + 1] == '#'))
        return i;
    }
    return source_.size();
  }

  // The text up to the tag at `open`, less the white space that the tag takes.
  void add_text(std::size_t open) {
    std::string text = source_.substr(at_, open - at_);
    const std::size_t lines = static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
    if (open + 2 < source_.size() && source_[open + 2] == '-') {
      text = strip_right(text).bytes();
    } else if (open < source_.size() && source_[open + 1] != '{' &&
               (open + 2 >= source_.size() || source_[open + 2] != '+')) {
      const std::size_t line = text.rfind('\n') + 1;  // 0 where there is none
      const bool blank = line < text.size() && strip_left(text.substr(line)).empty();
      if (blank && (line > 0 || line_starts_)) text.resize(line);
    }
    if (!text.empty()) pieces_.push_back({Piece::Kind::text, std::move(text), {}, line_});
    line_ += static_cast<int>(lines);
  }

  void skip_comment() {
    const std::size_t close = source_.find("#}", at_);
    if (close == std::string::npos) fail("a comment does not end");
    count_lines(at_, close);
    const char sign = close > at_ ? source_[close - 1] : ' ';
    at_ = close + 2;
    after_tag(sign, true);
  }

  // Whether the rest of the tag at `at` is this word. `close`: where the tag ends, with its sign.
  bool is_statement(std::size_t at, std::string_view word, std::size_t* close = nullptr) const {
    at = behind_space(at);
    if (source_.compare(at, word.size(), word) != 0) return false;
    at = behind_space(at + word.size());
    if (close != nullptr) *close = at;
    if (at < source_.size() && (source_[at] == '-' || source_[at] == '+')) ++at;
    return source_.compare(at, 2, "%}") == 0;
  }

  // at_ is behind the sign of {% raw %}: everything is text up to {% endraw %}.
  void take_raw() {
    const auto end_tag = [&](std::size_t close, bool trims_newline) {
      const char sign = source_[close];
      count_lines(at_, close);
      at_ = close + (sign == '%' ? 2 : 3);
      after_tag(sign, trims_newline);
    };
    std::size_t close = 0;
    is_statement(at_, "raw", &close);
    end_tag(close, false);
    for (std::size_t open = source_.find("{%", at_); open != std::string::npos;
         open = source_.find("{%", open + 2)) {
      const std::size_t sign = open + 2;
      const bool has_sign = sign < source_.size() && (source_[sign] == '-' || source_[sign] == '+');
      const std::size_t word = has_sign ? sign + 1 : sign;
      if (!is_statement(word, "endraw", &close)) continue;
      add_text(open);
      at_ = word;
      return end_tag(close, true);
    }
    fail("'raw' without its 'endraw'");
  }

  // White space behind a tag that ended with this sign.
  void after_tag(char sign, bool trims_newline) {
    const std::size_t begin = at_;
    if (sign == '-') {
      at_ = source_.size() - strip_left(source_.substr(at_)).size();
    } else if (trims_newline && sign != '+' && at_ < source_.size() && source_[at_] == '\n') {
      ++at_;
    }
    count_lines(begin, at_);
    line_starts_ = at_ > begin && source_[at_ - 1] == '\n';
  }

  void read_tag(Piece& piece, std::string_view close) {
    int depth = 0;  // of brackets: }} may close two dictionaries
    while (true) {
      skip_space();
      if (at_ >= source_.size()) fail("a tag does not end");
      const bool sign = source_[at_] == '-' || (source_[at_] == '+' && close == "%}");
      if (depth == 0 && source_.compare(at_ + (sign ? 1 : 0), 2, close) == 0) {
        const char ended = sign ? source_[at_] : ' ';
        at_ += sign ? 3 : 2;
        piece.tokens.push_back({Token::Kind::end, "", line_});
        return after_tag(ended, close == "%}");
      }
      piece.tokens.push_back(read_token());
      const Token& token = piece.tokens.back();
      if (token.kind != Token::Kind::symbol) continue;
      if (token.text == "(" || token.text == "[" || token.text == "{") ++depth;
      if (token.text == ")" || token.text == "]" || token.text == "}") --depth;
      if (depth < 0) fail(fmt::format("'{}' without its beginning", token.text));
    }
  }

  std::size_t behind_space(std::size_t at) const {
    for (std::size_t next = at; at < source_.size(); at = next) {
      if (!is_space(next_code_point(source_, next))) break;
    }
    return at;
  }

  void skip_space() {
    const std::size_t begin = at_;
    at_ = behind_space(at_);
    count_lines(begin, at_);
  }

  void count_lines(std::size_t begin, std::size_t end) {
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(begin),
                                         source_.begin() + static_cast<std::ptrdiff_t>(end), '\n'));
  }

  Token read_token() {
    const char c = source_[at_];
    const std::size_t begin = at_;
    if (is_name_start(c)) {
      while (at_ < source_.size() && (is_name_start(source_[at_]) || is_digit(source_[at_]))) ++at_;
      return {Token::Kind::name, source_.substr(begin, at_ - begin), line_};
    }
    if (is_digit(c)) return read_number();
    if (c == '\'' || c == '"') return read_string(c);
    static constexpr std::array<std::string_view, 24> kSymbols{"==", "!=", "<=", ">=", "//", "**", "(", ")",
                                                               "[",  "]",  "{",  "}",  ".",  ",",  ":", "|",
                                                               "=",  "<",  ">",  "+",  "-",  "*",  "/", "~"};
    for (const std::string_view symbol : kSymbols) {
      if (source_.compare(at_, symbol.size(), symbol) != 0) continue;
      at_ += symbol.size();
      return {Token::Kind::symbol, std::string(symbol), line_};
    }
    if (c == '%') {
      ++at_;
      return {Token::Kind::symbol, "%", line_};
    }
    fail(fmt::format("'{}' is not expected in a tag", c));
  }

  Token read_number() {
    const std::size_t begin = at_;
    const auto digits = [&] {
      while (at_ < source_.size() && is_digit(source_[at_])) ++at_;
    };
    digits();
    Token::Kind kind = Token::Kind::integer;
    if (at_ + 1 < source_.size() && source_[at_] == '.' && is_digit(source_[at_ + 1])) {
      kind = Token::Kind::number;
      ++at_;
      digits();
    }
    if (at_ < source_.size() && (is_name_start(source_[at_])))
      fail("a number in a notation that is not supported");
    return {kind, source_.substr(begin, at_ - begin), line_};
  }

  Token read_string(char quote) {
    const int line = line_;
    std::string value;
    for (++at_; at_ < source_.size() && source_[at_] != quote; ++at_) {
      if (source_[at_] == '\n') ++line_;
      if (source_[at_] != '\\') {
        value += source_[at_];
        continue;
      }
      if (++at_ >= source_.size()) break;
      add_escape(value);
    }
    if (at_ >= source_.size()) fail("a string does not end");
    ++at_;
    return {Token::Kind::string, std::move(value), line};
  }

  // at_ is behind the backslash; leaves it at the escape's last character.
  void add_escape(std::string& value) {
    const char c = source_[at_];
    static constexpr std::string_view kNames = "abfnrtv\\'\"";
    static constexpr std::string_view kValues = "\a\b\f\n\r\t\v\\'\"";
    if (const std::size_t i = kNames.find(c); i != std::string_view::npos) {
      value += kValues[i];
    } else if (c == '\n') {
      ++line_;
    } else if (c == 'x' || c == 'u' || c == 'U') {
      add_code_point(value, c == 'x' ? 2 : c == 'u' ? 4 : 8, 16);
    } else if (c >= '0' && c <= '7') {
      --at_;
      std::size_t length = 0;
      while (length < 3 && at_ + 1 + length < source_.size() && source_[at_ + 1 + length] >= '0' &&
             source_[at_ + 1 + length] <= '7')
        ++length;
      add_code_point(value, length, 8);
    } else if (c == 'N') {
      fail("\\N{...} is not supported");
    } else {
      value += '\\';
      value += c;
    }
  }

  void add_code_point(std::string& value, std::size_t length, int base) {
    const std::string digits = source_.substr(std::min(at_ + 1, source_.size()), length);
    std::size_t read = 0;
    unsigned long code = 0;
    try {
      if (!digits.empty() && digits.find_first_of("+- xX") == std::string::npos)
        code = std::stoul(digits, &read, base);
    } catch (const std::exception&) {
      read = 0;
    }
    if (read != length || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000))
      fail("a string has an escape that is no character");
    append_utf8(value, static_cast<char32_t>(code));
    at_ += length;
  }

  std::string source_;
  std::size_t at_ = 0;
  int line_ = 1;
  bool line_starts_ = true;  // nothing but a line end is before what comes next
  std::vector<Piece> pieces_;
};

}  // namespace

std::vector<Piece> lex(std::string_view source) {
  return Lexer(source).run();
}

}  // namespace spqr::jinja
