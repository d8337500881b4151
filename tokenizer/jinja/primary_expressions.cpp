// Literals, names, lists and dictionaries: what operators and filters are applied to.
#include <algorithm>
#include <array>
#include <charconv>

#include "tokenizer/jinja/expression_parser.h"

namespace spqr::jinja {

using Kind = Expression::Kind;

ExpressionPtr ExpressionParser::primary() {
  const Token& token = peek();
  if (token.kind == Token::Kind::name) return name_or_constant();
  ExpressionPtr literal = make(Kind::literal);
  if (token.kind == Token::Kind::string) {
    std::string text;
    while (peek().kind == Token::Kind::string) text += tokens_[at_++].text;
    literal->value = Text(std::move(text));
    return literal;
  }
  const char* const end = token.text.data() + token.text.size();
  if (token.kind == Token::Kind::integer) {
    std::int64_t value = 0;
    if (std::from_chars(token.text.data(), end, value).ec != std::errc()) fail("a number is too large");
    literal->value = value;
    ++at_;
    return literal;
  }
  if (token.kind == Token::Kind::number) {
    double value = 0;
    std::from_chars(token.text.data(), end, value);
    literal->value = value;
    ++at_;
    return literal;
  }
  if (take_symbol("(")) {
    if (take_symbol(")")) return make(Kind::list, "tuple");
    ExpressionPtr inner = tuple();
    expect_symbol(")");
    return inner;
  }
  if (is_symbol("[")) return list();
  if (is_symbol("{")) return dictionary();
  fail("a value is expected");
}

ExpressionPtr ExpressionParser::name_or_constant() {
  const std::string word = peek().text;
  static constexpr std::array<const char*, 7> kReserved{"and", "or", "in", "is", "if", "else", "not"};
  if (std::find(kReserved.begin(), kReserved.end(), word) != kReserved.end()) fail("a value is expected");
  ExpressionPtr value = make(Kind::literal);
  if (word == "true" || word == "True") {
    value->value = true;
  } else if (word == "false" || word == "False") {
    value->value = false;
  } else if (word == "none" || word == "None") {
    value->value = None();
  } else {
    value = make(Kind::name, word);
  }
  ++at_;
  return value;
}

ExpressionPtr ExpressionParser::list() {
  ExpressionPtr all = make(Kind::list);
  expect_symbol("[");
  while (!take_symbol("]")) {
    if (!all->items.empty()) {
      expect_symbol(",");
      if (take_symbol("]")) break;
    }
    all->items.push_back(expression());
  }
  return all;
}

ExpressionPtr ExpressionParser::dictionary() {
  ExpressionPtr all = make(Kind::dictionary);
  expect_symbol("{");
  while (!take_symbol("}")) {
    if (!all->items.empty()) {
      expect_symbol(",");
      if (take_symbol("}")) break;
    }
    all->items.push_back(expression());
    expect_symbol(":");
    all->items.push_back(expression());
  }
  return all;
}

}  // namespace spqr::jinja
