// What expressions of a template evaluate to: Python's values as far as chat templates use them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "tokenizer/jinja/text.h"

namespace spqr::jinja {

// A template that cannot be run here: what in it, in one sentence.
struct Unsupported : std::runtime_error {
  using std::runtime_error::runtime_error;
};
// raise_exception(sentence): the template does not take this conversation.
struct Refused : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class Value;

// A name or element that is not there: prints as nothing, is false, has no elements.
struct Undefined {
  std::string what;
};
struct None {};

// Lists and dictionaries do not change once made, so that values need no copies. `weight` bounds what going
// through one can cost, with all that is in it, however often.
struct List {
  std::vector<Value> items;
  bool tuple = false;
  std::int64_t weight = 0;
};
struct Dict {
  std::vector<std::pair<Text, Value>> items;
  bool opaque = false;      // namespace() and `loop`: neither printed nor walked through, nor in a list
  bool assignable = false;  // namespace(): the only one that does change
  std::int64_t weight = 0;

  const Value* find(const std::string& key) const;
  void set(const Text& key, Value value);
};
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};
struct Callable {
  std::string name;
  std::function<Value(const Arguments&)> call;
};

class Value : public std::variant<Undefined, None, bool, std::int64_t, double, Text, std::shared_ptr<List>,
                                  std::shared_ptr<Dict>, std::shared_ptr<Callable>> {
 public:
  using variant::variant;
  Value(const char* text) : variant(Text(text)) {}             // NOLINT(google-explicit-constructor)
  Value(std::string text) : variant(Text(std::move(text))) {}  // NOLINT(google-explicit-constructor)

  template <typename T>
  const T* as() const {
    return std::get_if<T>(this);
  }
  // Null where it is no list, or no dictionary.
  const List* list() const;
  const Dict* dict() const;
  bool is_undefined() const { return as<Undefined>() != nullptr; }
  // bool, int or float.
  bool is_number() const;
};

// Texts and lists larger than any conversation makes them are refused.
inline constexpr std::int64_t kMaxTextBytes = 32 << 20;

// Both throw Unsupported where it would be too large.
Value make_list(std::vector<Value> items, bool tuple = false);
Value make_dict(std::vector<std::pair<Text, Value>> items);
// About how many steps it takes to walk through it.
std::int64_t weight_of(const Value& value);
Value make_callable(std::string name, std::function<Value(const Arguments&)> call);

bool is_true(const Value& value);
// As str() has it.
Text to_text(const Value& value);
// As repr() has it: what str() makes of elements of lists.
Text to_repr(const Value& value);
// As json.dumps(value, ensure_ascii=False, indent=indent) has it; indent < 0: None.
Text to_json(const Value& value, std::int64_t indent);
bool equal(const Value& a, const Value& b);
// a < b, of numbers or of texts. Throws Unsupported for others.
bool less(const Value& a, const Value& b);
// `part in whole`
bool contains(const Value& whole, const Value& part);
// Elements, keys of a dictionary, characters. Throws Unsupported for what has none.
std::vector<Value> elements(const Value& value);
std::int64_t to_integer(const Value& value, const char* what);
// "str", "dict", ...
const char* type_name(const Value& value);

}  // namespace spqr::jinja
