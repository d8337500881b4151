#include "tokenizer/jinja/parser.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "tokenizer/jinja/expression_parser.h"
#include "tokenizer/jinja/lexer.h"

namespace spqr::jinja {
namespace {

constexpr int kMaxDepth = 100;
using Kind = Statement::Kind;

class Parser {
 public:
  explicit Parser(std::string_view source) : pieces_(lex(source)) {}

  Body run() {
    Body all = body();
    if (at_ < pieces_.size()) fail(pieces_[at_].line, fmt::format("'{}' without its beginning", word()));
    return all;
  }

 private:
  [[noreturn]] static void fail(int line, const std::string& what) {
    throw Unsupported(fmt::format("line {}: {}", line, what));
  }

  // The first word of the statement at at_.
  const std::string& word() const { return pieces_[at_].tokens.front().text; }

  // Statements up to one that ends them or goes on otherwise, which stays.
  Body body() {
    if (++depth_ > kMaxDepth)
      fail(pieces_[std::min(at_, pieces_.size() - 1)].line, "statements are nested too deeply");
    Body statements;
    while (at_ < pieces_.size()) {
      const Piece& piece = pieces_[at_];
      if (piece.kind == Piece::Kind::statement) {
        if (word().starts_with("end") || word() == "else" || word() == "elif") break;
        statements.push_back(statement());
        continue;
      }
      Statement made;
      made.line = piece.line;
      if (piece.kind == Piece::Kind::text) {
        made.text = piece.text;
      } else {
        made.kind = Kind::output;
        ExpressionParser parser(piece.tokens);
        made.expression = parser.tuple();
        parser.expect_end();
      }
      statements.push_back(std::move(made));
      ++at_;
    }
    --depth_;
    return statements;
  }

  void end(std::string_view with, int line) {
    if (at_ >= pieces_.size() || word() != with)
      fail(line, fmt::format("a statement without its '{}'", with));
    ExpressionParser parser(pieces_[at_].tokens);
    parser.expect_word(with);
    if (with == "endmacro" || with == "endset") {  // may repeat the name
      if (parser.peek().kind == Token::Kind::name) parser.expect_name();
    }
    parser.expect_end();
    ++at_;
  }

  Statement statement() {
    const Piece& piece = pieces_[at_];
    ExpressionParser parser(piece.tokens);
    Statement made;
    made.line = piece.line;
    const std::string name = parser.expect_name();
    ++at_;
    if (name == "if") {
      conditional(made, parser);
    } else if (name == "for") {
      loop(made, parser);
    } else if (name == "set") {
      set(made, parser);
    } else if (name == "macro") {
      macro(made, parser);
    } else if (name == "break" || name == "continue") {
      if (loops_ == 0) fail(piece.line, fmt::format("'{}' outside of a loop", name));
      made.kind = name == "break" ? Kind::leave : Kind::next;
      parser.expect_end();
    } else if (name == "generation") {  // marks what the model wrote, for training
      parser.expect_end();
      made.kind = Kind::body;
      made.body = body();
      end("endgeneration", made.line);
    } else {
      fail(piece.line, fmt::format("the statement '{}' is not supported", name));
    }
    return made;
  }

  void conditional(Statement& made, ExpressionParser& parser) {
    made.kind = Kind::conditional;
    made.expression = parser.tuple();
    parser.expect_end();
    made.body = body();
    if (at_ < pieces_.size() && word() == "elif") {
      Statement next;
      next.line = pieces_[at_].line;
      ExpressionParser condition(pieces_[at_].tokens);
      condition.expect_word("elif");
      ++at_;
      if (++depth_ > kMaxDepth) fail(next.line, "statements are nested too deeply");
      conditional(next, condition);
      --depth_;
      made.other.push_back(std::move(next));
      return;
    }
    if (at_ < pieces_.size() && word() == "else") {
      end("else", made.line);
      made.other = body();
    }
    end("endif", made.line);
  }

  void loop(Statement& made, ExpressionParser& parser) {
    made.kind = Kind::loop;
    do {
      made.names.push_back(parser.expect_name());
    } while (parser.take_symbol(","));
    parser.expect_word("in");
    made.expression = parser.unconditional();
    if (parser.take_word("if")) made.condition = parser.expression();
    if (parser.is_word("recursive")) fail(made.line, "recursive loops are not supported");
    parser.expect_end();
    ++loops_;
    made.body = body();
    --loops_;
    if (at_ < pieces_.size() && word() == "else") {
      end("else", made.line);
      made.other = body();
    }
    end("endfor", made.line);
  }

  void set(Statement& made, ExpressionParser& parser) {
    made.names.push_back(parser.expect_name());
    if (parser.take_symbol(".")) {
      made.names.push_back(parser.expect_name());
      made.kind = Kind::set_attribute;
      parser.expect_symbol("=");
    } else if (parser.is_symbol(",") || parser.is_symbol("=")) {
      made.kind = Kind::set;
      while (parser.take_symbol(",")) made.names.push_back(parser.expect_name());
      parser.expect_symbol("=");
    } else {
      made.kind = Kind::set_block;
      parser.expect_end();
      made.body = body();
      return end("endset", made.line);
    }
    made.expression = parser.tuple();
    parser.expect_end();
  }

  void macro(Statement& made, ExpressionParser& parser) {
    made.kind = Kind::macro;
    made.names.push_back(parser.expect_name());
    parser.expect_symbol("(");
    while (!parser.take_symbol(")")) {
      if (!made.parameters.empty()) parser.expect_symbol(",");
      Parameter parameter{parser.expect_name(), nullptr};
      if (parser.take_symbol("=")) parameter.otherwise = parser.expression();
      made.parameters.push_back(std::move(parameter));
    }
    parser.expect_end();
    const int loops = std::exchange(loops_, 0);
    made.body = body();
    loops_ = loops;
    end("endmacro", made.line);
  }

  std::vector<Piece> pieces_;
  std::size_t at_ = 0;
  int depth_ = 0;
  int loops_ = 0;
};

}  // namespace

Body parse(std::string_view source) {
  return Parser(source).run();
}

}  // namespace spqr::jinja
