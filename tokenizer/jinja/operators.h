// Operators between values, as Python has them.
#pragma once

#include <string>

#include "tokenizer/jinja/value.h"

namespace spqr::jinja {

// left `name` right: + - * / // % of numbers, + of texts and of lists, * of a text and a number, ~ of
// anything. Throws Unsupported for others, for a division by zero and where the result is too large.
Value arithmetic(const std::string& name, const Value& left, const Value& right);
// -value or +value.
Value signed_value(const std::string& name, const Value& value);
// left `name` right: == != < <= > >= in, not in. Throws Unsupported where values have no order.
bool holds(const std::string& name, const Value& left, const Value& right);

}  // namespace spqr::jinja
