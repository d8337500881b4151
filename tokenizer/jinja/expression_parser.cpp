#include "tokenizer/jinja/expression_parser.h"

#include <fmt/format.h>

#include <algorithm>

namespace spqr::jinja {
namespace {

constexpr int kMaxDepth = 100;
constexpr int kMaxLinks = 2000;  // of chains, each link of which is one level of the tree
using Kind = Expression::Kind;

}  // namespace

// Counts how deep expressions stand in one another: each costs memory on the stack.
class ExpressionParser::Nested {
 public:
  explicit Nested(ExpressionParser& parser) : parser_(parser) {
    if (++parser_.depth_ > kMaxDepth) parser_.fail("expressions are nested too deeply");
  }
  ~Nested() { --parser_.depth_; }
  Nested(const Nested&) = delete;
  Nested& operator=(const Nested&) = delete;

 private:
  ExpressionParser& parser_;
};

const Token& ExpressionParser::peek(std::size_t ahead) const {
  return tokens_[std::min(at_ + ahead, tokens_.size() - 1)];
}
bool ExpressionParser::is_symbol(std::string_view symbol) const {
  return peek().kind == Token::Kind::symbol && peek().text == symbol;
}
bool ExpressionParser::is_word(std::string_view word) const {
  return peek().kind == Token::Kind::name && peek().text == word;
}
bool ExpressionParser::take_symbol(std::string_view symbol) {
  if (!is_symbol(symbol)) return false;
  ++at_;
  return true;
}
bool ExpressionParser::take_word(std::string_view word) {
  if (!is_word(word)) return false;
  ++at_;
  return true;
}
void ExpressionParser::expect_symbol(std::string_view symbol) {
  if (!take_symbol(symbol)) fail(fmt::format("'{}' is expected", symbol));
}
void ExpressionParser::expect_word(std::string_view word) {
  if (!take_word(word)) fail(fmt::format("'{}' is expected", word));
}
std::string ExpressionParser::expect_name() {
  if (peek().kind != Token::Kind::name) fail("a name is expected");
  return tokens_[at_++].text;
}
void ExpressionParser::expect_end() const {
  if (peek().kind != Token::Kind::end) fail("the tag is expected to end");
}
void ExpressionParser::fail(const std::string& what) const {
  const std::string found =
      peek().kind == Token::Kind::end ? "the tag's end" : fmt::format("'{}'", peek().text);
  throw Unsupported(fmt::format("line {}: {} at {}", peek().line, what, found));
}

// One more level in the tree of this tag.
void ExpressionParser::lengthen() {
  if (++links_ > kMaxLinks) fail("an expression is too long");
}

ExpressionPtr ExpressionParser::make(Kind kind, std::string name) const {
  auto made = std::make_unique<Expression>();
  made->kind = kind;
  made->line = peek().line;
  made->name = std::move(name);
  return made;
}

ExpressionPtr ExpressionParser::tuple() {
  ExpressionPtr first = expression();
  if (!is_symbol(",")) return first;
  ExpressionPtr all = make(Kind::list, "tuple");
  all->items.push_back(std::move(first));
  while (take_symbol(",")) {
    if (is_symbol(")") || peek().kind == Token::Kind::end) break;
    all->items.push_back(expression());
  }
  return all;
}

ExpressionPtr ExpressionParser::expression() {
  const Nested nested(*this);
  ExpressionPtr value = unconditional();
  while (take_word("if")) {
    lengthen();
    ExpressionPtr choice = make(Kind::conditional);
    choice->items.push_back(std::move(value));
    choice->items.push_back(unconditional());
    choice->items.push_back(take_word("else") ? expression() : nullptr);
    value = std::move(choice);
  }
  return value;
}

ExpressionPtr ExpressionParser::unconditional() {
  ExpressionPtr left = both();
  while (take_word("or")) {
    lengthen();
    ExpressionPtr either = make(Kind::either);
    either->items.push_back(std::move(left));
    either->items.push_back(both());
    left = std::move(either);
  }
  return left;
}

ExpressionPtr ExpressionParser::both() {
  ExpressionPtr left = negation();
  while (take_word("and")) {
    lengthen();
    ExpressionPtr both = make(Kind::both);
    both->items.push_back(std::move(left));
    both->items.push_back(negation());
    left = std::move(both);
  }
  return left;
}

ExpressionPtr ExpressionParser::negation() {
  if (!is_word("not")) return comparison();
  const Nested nested(*this);
  ExpressionPtr negated = make(Kind::unary, "not");
  expect_word("not");
  negated->items.push_back(negation());
  return negated;
}

ExpressionPtr ExpressionParser::comparison() {
  ExpressionPtr first = sum();
  ExpressionPtr chain;
  while (true) {
    std::string found;
    for (const char* symbol : {"==", "!=", "<=", ">=", "<", ">"}) {
      if (take_symbol(symbol)) {
        found = symbol;
        break;
      }
    }
    if (found.empty() && take_word("in")) found = "in";
    if (found.empty() && is_word("not") && peek(1).kind == Token::Kind::name && peek(1).text == "in") {
      at_ += 2;
      found = "not in";
    }
    if (found.empty()) return chain != nullptr ? std::move(chain) : std::move(first);
    if (chain == nullptr) {
      chain = make(Kind::comparison);
      chain->items.push_back(std::move(first));
    }
    chain->operators.push_back(found);
    chain->items.push_back(sum());
  }
}

ExpressionPtr ExpressionParser::sum() {
  ExpressionPtr left = concatenation();
  while (is_symbol("+") || is_symbol("-")) {
    lengthen();
    ExpressionPtr sum = make(Kind::arithmetic, tokens_[at_++].text);
    sum->items.push_back(std::move(left));
    sum->items.push_back(concatenation());
    left = std::move(sum);
  }
  return left;
}

ExpressionPtr ExpressionParser::concatenation() {
  ExpressionPtr left = product();
  while (take_symbol("~")) {
    lengthen();
    ExpressionPtr joined = make(Kind::arithmetic, "~");
    joined->items.push_back(std::move(left));
    joined->items.push_back(product());
    left = std::move(joined);
  }
  return left;
}

ExpressionPtr ExpressionParser::product() {
  ExpressionPtr left = power();
  while (is_symbol("*") || is_symbol("/") || is_symbol("//") || is_symbol("%")) {
    lengthen();
    ExpressionPtr product = make(Kind::arithmetic, tokens_[at_++].text);
    product->items.push_back(std::move(left));
    product->items.push_back(power());
    left = std::move(product);
  }
  return left;
}

// Unlike Python's, from left to right.
ExpressionPtr ExpressionParser::power() {
  ExpressionPtr left = unary(true);
  while (take_symbol("**")) {
    lengthen();
    ExpressionPtr power = make(Kind::arithmetic, "**");
    power->items.push_back(std::move(left));
    power->items.push_back(unary(true));
    left = std::move(power);
  }
  return left;
}

ExpressionPtr ExpressionParser::unary(bool with_filters) {
  const Nested nested(*this);
  ExpressionPtr value;
  if (is_symbol("-") || is_symbol("+")) {
    value = make(Kind::unary, tokens_[at_++].text);
    value->items.push_back(unary(false));
  } else {
    value = primary();
  }
  value = postfixes(std::move(value));
  return with_filters ? filters(std::move(value)) : std::move(value);
}

ExpressionPtr ExpressionParser::postfixes(ExpressionPtr of) {
  while (true) {
    lengthen();
    if (take_symbol(".")) {
      if (peek().kind == Token::Kind::integer) {
        ExpressionPtr element = make(Kind::element);
        element->items.push_back(std::move(of));
        element->items.push_back(primary());
        of = std::move(element);
        continue;
      }
      ExpressionPtr attribute = make(Kind::attribute, expect_name());
      attribute->items.push_back(std::move(of));
      of = std::move(attribute);
    } else if (is_symbol("[")) {
      of = element(std::move(of));
    } else if (is_symbol("(")) {
      ExpressionPtr call = make(Kind::call);
      call->items.push_back(std::move(of));
      arguments(*call);
      of = std::move(call);
    } else {
      return of;
    }
  }
}

// [i], [i:j], [i:j:k]
ExpressionPtr ExpressionParser::element(ExpressionPtr of) {
  expect_symbol("[");
  ExpressionPtr parts[3];
  int count = 0;
  bool slice = false;
  while (!is_symbol("]")) {
    if (take_symbol(":")) {
      slice = true;
      if (++count > 2) fail("a slice has three parts at most");
    } else {
      if (parts[count] != nullptr) fail("']' is expected");
      parts[count] = expression();
    }
  }
  if (!slice && parts[0] == nullptr) fail("a value is expected");
  expect_symbol("]");
  ExpressionPtr made = make(slice ? Kind::slice : Kind::element);
  made->items.push_back(std::move(of));
  for (int i = 0; i < (slice ? 3 : 1); ++i) made->items.push_back(std::move(parts[i]));
  return made;
}

ExpressionPtr ExpressionParser::filters(ExpressionPtr of) {
  while (true) {
    lengthen();
    if (take_symbol("|")) {
      ExpressionPtr filter = make(Kind::filter, expect_name());
      filter->items.push_back(std::move(of));
      if (is_symbol("(")) arguments(*filter);
      of = std::move(filter);
    } else if (take_word("is")) {
      of = test(std::move(of));
    } else if (is_symbol("(")) {
      ExpressionPtr call = make(Kind::call);
      call->items.push_back(std::move(of));
      arguments(*call);
      of = std::move(call);
    } else {
      return of;
    }
  }
}

ExpressionPtr ExpressionParser::test(ExpressionPtr of) {
  const bool negated = take_word("not");
  ExpressionPtr test = make(Kind::test, expect_name());
  test->items.push_back(std::move(of));
  const Token& next = peek();
  const bool operand = next.kind == Token::Kind::string || next.kind == Token::Kind::integer ||
                       next.kind == Token::Kind::number || is_symbol("[") || is_symbol("{") ||
                       (next.kind == Token::Kind::name && next.text != "else" && next.text != "or" &&
                        next.text != "and" && next.text != "if" && next.text != "in" && next.text != "not");
  if (is_symbol("(")) {
    arguments(*test);
  } else if (operand) {
    if (is_word("is")) fail("tests do not follow one another");
    test->items.push_back(postfixes(primary()));
  }
  if (!negated) return test;
  ExpressionPtr opposite = make(Kind::unary, "not");
  opposite->items.push_back(std::move(test));
  return opposite;
}

void ExpressionParser::arguments(Expression& call) {
  expect_symbol("(");
  bool first = true;
  while (!take_symbol(")")) {
    if (!first) {
      expect_symbol(",");
      if (take_symbol(")")) return;
    }
    first = false;
    if (is_symbol("*") || is_symbol("**")) fail("argument lists are not unpacked");
    if (peek().kind == Token::Kind::name && peek(1).kind == Token::Kind::symbol && peek(1).text == "=") {
      const std::string name = expect_name();
      expect_symbol("=");
      call.keywords.emplace_back(name, expression());
    } else {
      if (!call.keywords.empty()) fail("an argument without a name follows one with a name");
      call.items.push_back(expression());
    }
  }
}

}  // namespace spqr::jinja
