// What templates can call: filters, tests, functions, and methods of texts and dictionaries. Of those that
// Jinja and Python have, the ones that chat templates use; others throw Unsupported when they are called.
#pragma once

#include <optional>
#include <string>

#include "tokenizer/jinja/value.h"

namespace spqr::jinja {

// input | name(arguments)
Value apply_filter(const std::string& name, const Value& input, const Arguments& arguments);
// value is name(operand); operand may be null
bool apply_test(const std::string& name, const Value& value, const Value* operand);
// namespace, range, dict, raise_exception, strftime_now; undefined for other names.
Value find_function(const std::string& name);
// object.name, of an object of any type: a method, an element of a dictionary, or undefined.
Value attribute_of(const Value& object, const std::string& name);
// The method of that name, if its type has it.
std::optional<Value> method_of(const Value& object, const std::string& name);

// Those of Python's str; also behind filters.
Text upper(const Text& text);
Text lower(const Text& text);
Text capitalize(const Text& text);
Text title(const Text& text);         // words are letters
Text title_filter(const Text& text);  // Jinja's own: words begin behind white space, -, (, {, [ and <
Text replace(const Text& text, const Text& from, const Text& to, std::int64_t count);
Text join(const Text& separator, const std::vector<Value>& items);

// Arguments by place or name; null: not given.
const Value* argument(const Arguments& arguments, std::size_t index, const char* name);

}  // namespace spqr::jinja
