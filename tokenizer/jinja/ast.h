// A template as a tree.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tokenizer/jinja/value.h"

namespace spqr::jinja {

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

struct Expression {
  enum class Kind {
    literal,      // value
    name,         // name
    list,         // items; tuple: name is "tuple"
    dictionary,   // items: key, value, key, value, ...
    attribute,    // items[0].name
    element,      // items[0][items[1]]
    slice,        // items[0][items[1]:items[2]:items[3]]; null: not given
    call,         // items[0](items[1], ..., keywords)
    filter,       // items[0] | name(items[1], ..., keywords)
    test,         // items[0] is name(items[1], ...)
    unary,        // name ("-", "+", "not") items[0]
    arithmetic,   // items[0] name items[1]
    comparison,   // items[0] operators[0] items[1] operators[1] items[2] ...
    both,         // items[0] and items[1]
    either,       // items[0] or items[1]
    conditional,  // items[0] if items[1] else items[2]; null: undefined
  };
  Kind kind = Kind::literal;
  int line = 0;
  std::string name{};
  Value value{};
  std::vector<ExpressionPtr> items{};
  std::vector<std::pair<std::string, ExpressionPtr>> keywords{};
  std::vector<std::string> operators{};
};

struct Statement;
using Body = std::vector<Statement>;

struct Parameter {
  std::string name;
  ExpressionPtr otherwise;  // null: undefined
};

struct Statement {
  enum class Kind {
    text,           // text
    output,         // expression
    conditional,    // if expression: body, else: other
    loop,           // for names in expression if condition: body, else: other
    set,            // names = expression
    set_attribute,  // names[0].names[1] = expression
    set_block,      // names[0] = what body writes
    macro,          // names[0](parameters): body
    leave,          // break
    next,           // continue
    body,           // body, as it is
  };
  Kind kind = Kind::text;
  int line = 0;
  std::string text{};
  std::vector<std::string> names{};
  ExpressionPtr expression{};
  ExpressionPtr condition{};
  std::vector<Parameter> parameters{};
  Body body{};
  Body other{};
};

}  // namespace spqr::jinja
