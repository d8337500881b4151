// Expressions of one tag.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/jinja/ast.h"
#include "tokenizer/jinja/lexer.h"

namespace spqr::jinja {

class ExpressionParser {
 public:
  explicit ExpressionParser(const std::vector<Token>& tokens) : tokens_(tokens) {}

  ExpressionPtr expression();     // with a condition: a if b else c
  ExpressionPtr unconditional();  // without
  ExpressionPtr tuple();          // expressions between commas are one

  const Token& peek(std::size_t ahead = 0) const;
  bool is_symbol(std::string_view symbol) const;
  bool is_word(std::string_view word) const;
  bool take_symbol(std::string_view symbol);
  bool take_word(std::string_view word);
  void expect_symbol(std::string_view symbol);
  void expect_word(std::string_view word);
  std::string expect_name();
  void expect_end() const;
  [[noreturn]] void fail(const std::string& what) const;

 private:
  class Nested;

  ExpressionPtr make(Expression::Kind kind, std::string name = {}) const;
  void lengthen();
  ExpressionPtr both();
  ExpressionPtr negation();
  ExpressionPtr comparison();
  ExpressionPtr sum();
  ExpressionPtr concatenation();
  ExpressionPtr product();
  ExpressionPtr power();
  ExpressionPtr unary(bool with_filters);
  ExpressionPtr primary();
  ExpressionPtr name_or_constant();
  ExpressionPtr list();
  ExpressionPtr dictionary();
  ExpressionPtr postfixes(ExpressionPtr of);
  ExpressionPtr element(ExpressionPtr of);
  ExpressionPtr filters(ExpressionPtr of);
  ExpressionPtr test(ExpressionPtr of);
  void arguments(Expression& call);

  const std::vector<Token>& tokens_;
  std::size_t at_ = 0;
  int depth_ = 0;
  int links_ = 0;
};

}  // namespace spqr::jinja
