#include "tokenizer/jinja/operators.h"

#include <fmt/format.h>

#include <cmath>
#include <utility>

namespace spqr::jinja {
namespace {

double float_of(const Value& value) {
  const auto* number = value.as<double>();
  return number != nullptr ? *number : static_cast<double>(to_integer(value, "an operand"));
}

Value of_floats(const std::string& name, double a, double b) {
  if (name == "+") return a + b;
  if (name == "-") return a - b;
  if (name == "*") return a * b;
  if (name == "**") {
    const double result = std::pow(a, b);
    if (!std::isfinite(result)) throw Unsupported("a power is too large, or no real number");
    return result;
  }
  if (b == 0) throw Unsupported("a division by zero");
  if (name == "/") return a / b;
  if (name == "//") return std::floor(a / b);
  return a - b * std::floor(a / b);
}

// Quotients are rounded down.
std::int64_t floor_divide(std::int64_t a, std::int64_t b) {
  return a / b - (a % b != 0 && (a < 0) != (b < 0) ? 1 : 0);
}

// a to the b-th, b not negative.
std::int64_t power(std::int64_t a, std::int64_t b) {
  if (a == 0 || a == 1) return b == 0 ? 1 : a;
  if (a == -1) return b % 2 == 0 ? 1 : -1;
  std::int64_t result = 1;
  for (; b > 0; --b) {
    if (__builtin_mul_overflow(result, a, &result)) throw Unsupported("a number is too large");
  }
  return result;
}

Value of_integers(const std::string& name, std::int64_t a, std::int64_t b) {
  std::int64_t result = 0;
  bool overflow = false;
  if (name == "+") {
    overflow = __builtin_add_overflow(a, b, &result);
  } else if (name == "-") {
    overflow = __builtin_sub_overflow(a, b, &result);
  } else if (name == "*") {
    overflow = __builtin_mul_overflow(a, b, &result);
  } else if (name == "**") {
    return b < 0 ? of_floats(name, static_cast<double>(a), static_cast<double>(b)) : Value(power(a, b));
  } else if (b == 0) {
    throw Unsupported("a division by zero");
  } else if (b == -1) {
    overflow = name == "//" && __builtin_sub_overflow(0, a, &result);
  } else {
    const std::int64_t quotient = floor_divide(a, b);
    result = name == "//" ? quotient : a - quotient * b;
  }
  if (overflow) throw Unsupported("a number is too large");
  return result;
}

Value of_numbers(const std::string& name, const Value& left, const Value& right) {
  if (left.as<double>() != nullptr || right.as<double>() != nullptr || name == "/")
    return of_floats(name, float_of(left), float_of(right));
  return of_integers(name, to_integer(left, "an operand"), to_integer(right, "an operand"));
}

Value repeated(const Text& text, const Value& times) {
  const std::int64_t count = to_integer(times, "how often a text is repeated");
  if (count > 0 && static_cast<std::int64_t>(text.size()) > kMaxTextBytes / count)
    throw Unsupported("a text is too large");
  Text all;
  for (std::int64_t i = 0; i < count && !text.empty(); ++i) all += text;
  return all;
}

}  // namespace

Value arithmetic(const std::string& name, const Value& left, const Value& right) {
  if (name == "~") return to_text(left) + to_text(right);
  const auto* a = left.as<Text>();
  const auto* b = right.as<Text>();
  if (name == "+" && a != nullptr && b != nullptr) return *a + *b;
  if (name == "+" && left.list() != nullptr && right.list() != nullptr &&
      left.list()->tuple == right.list()->tuple) {
    std::vector<Value> items = left.list()->items;
    items.insert(items.end(), right.list()->items.begin(), right.list()->items.end());
    return make_list(std::move(items), left.list()->tuple);
  }
  if (name == "*" && (a != nullptr) != (b != nullptr))
    return repeated(a != nullptr ? *a : *b, a != nullptr ? right : left);
  if (!left.is_number() || !right.is_number())
    throw Unsupported(fmt::format("{} {} {} is not supported", type_name(left), name, type_name(right)));
  return of_numbers(name, left, right);
}

Value signed_value(const std::string& name, const Value& value) {
  if (const auto* number = value.as<double>()) return name == "-" ? -*number : *number;
  return of_integers(name, 0, to_integer(value, "an operand"));
}

bool holds(const std::string& name, const Value& left, const Value& right) {
  if (name == "==") return equal(left, right);
  if (name == "!=") return !equal(left, right);
  if (name == "<") return less(left, right);
  if (name == ">") return less(right, left);
  if (name == "<=") return less(left, right) || equal(left, right);
  if (name == ">=") return less(right, left) || equal(left, right);
  return contains(right, left) == (name == "in");
}

}  // namespace spqr::jinja
