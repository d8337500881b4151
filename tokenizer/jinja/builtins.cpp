// Filters, tests and functions.
#include "tokenizer/jinja/builtins.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <ctime>
#include <map>

#include "tokenizer/jinja/operators.h"

namespace spqr::jinja {
namespace {

using Filter = Value (*)(const Value& input, const Arguments& arguments);

std::int64_t length_of(const Value& value) {
  if (value.is_undefined()) return 0;
  if (const auto* text = value.as<Text>())
    return static_cast<std::int64_t>(code_point_offsets(text->bytes()).size()) - 1;
  if (const List* list = value.list()) return static_cast<std::int64_t>(list->items.size());
  if (const Dict* dict = value.dict(); dict != nullptr && !dict->opaque)
    return static_cast<std::int64_t>(dict->items.size());
  throw Unsupported(fmt::format("the length of {}", type_name(value)));
}

Value trim(const Value& input, const Arguments& arguments) {
  const Text text = to_text(input);
  const Value* given = argument(arguments, 0, "chars");
  if (given == nullptr || given->as<None>() != nullptr) return strip_left(strip_right(text));
  const std::string characters = to_text(*given).bytes();
  return strip_left(strip_right(text, &characters), &characters);
}

Value otherwise(const Value& input, const Arguments& arguments) {
  const Value* value = argument(arguments, 0, "default_value");
  const Value* also_false = argument(arguments, 1, "boolean");
  const bool replaces =
      input.is_undefined() || (also_false != nullptr && is_true(*also_false) && !is_true(input));
  return !replaces ? input : value != nullptr ? *value : Value("");
}

Value attribute_path(const Value& item, const Value& path) {
  if (path.as<Text>() == nullptr) throw Unsupported("an attribute that is no text");
  const std::string& name = path.as<Text>()->bytes();
  if (name.find('.') != std::string::npos) throw Unsupported("an attribute's attribute in a filter");
  if (const Dict* dict = item.dict()) {
    if (const Value* found = dict->find(name)) return *found;
  }
  return Undefined{fmt::format("'{}' is not there", name)};
}

Value joined(const Value& input, const Arguments& arguments) {
  const Value* separator = argument(arguments, 0, "d");
  std::vector<Value> items = elements(input);
  if (const Value* attribute = argument(arguments, 1, "attribute")) {
    for (Value& item : items) item = attribute_path(item, *attribute);
  }
  return join(separator == nullptr ? Text() : to_text(*separator), items);
}

Value replaced(const Value& input, const Arguments& arguments) {
  const Value* from = argument(arguments, 0, "old");
  const Value* to = argument(arguments, 1, "new");
  if (from == nullptr || to == nullptr) throw Unsupported("replace without what and by what");
  const Value* count = argument(arguments, 2, "count");
  return replace(to_text(input), to_text(*from), to_text(*to),
                 count == nullptr || count->as<None>() != nullptr ? -1 : to_integer(*count, "count"));
}

Value first_or_last(const Value& input, bool first) {
  const std::vector<Value> items = elements(input);
  if (items.empty()) return Undefined{"there is no first or last element"};
  return first ? items.front() : items.back();
}

Value integer(const Value& input, const Arguments& arguments) {
  if (arguments.positional.size() > 1 || !arguments.named.empty()) throw Unsupported("int with a base");
  if (const auto* number = input.as<double>()) {
    if (!(std::abs(*number) < 9e18)) throw Unsupported("a number is too large");
    return static_cast<std::int64_t>(*number);
  }
  if (input.is_number()) return to_integer(input, "a number");
  const Value failed = arguments.positional.empty() ? Value(std::int64_t{0}) : arguments.positional[0];
  if (input.as<Text>() == nullptr) return failed;
  const std::string text = strip_left(strip_right(*input.as<Text>())).bytes();
  const std::size_t sign = text.starts_with('-') ? 1 : 0;
  if (text.size() == sign || text.find_first_not_of("0123456789", sign) != std::string::npos) {
    if (text.empty() || text.find_first_of("0123456789") == std::string::npos) return failed;
    throw Unsupported("int of a text in another notation");
  }
  std::int64_t value = 0;
  if (std::from_chars(text.data(), text.data() + text.size(), value).ec != std::errc())
    throw Unsupported("a number is too large");
  return value;
}

Value to_json_filter(const Value& input, const Arguments& arguments) {
  for (const auto& [name, value] : arguments.named) {
    const bool usual = (name == "ensure_ascii" && !is_true(value)) ||
                       (name == "sort_keys" && !is_true(value)) || name == "indent";
    if (!usual) throw Unsupported(fmt::format("tojson with '{}'", name));
  }
  if (arguments.positional.size() > 1) throw Unsupported("tojson with several arguments");
  const Value* indent = arguments.positional.empty() ? argument(arguments, 1, "indent") : nullptr;
  if (!arguments.positional.empty() && is_true(arguments.positional[0]))
    throw Unsupported("tojson with 'ensure_ascii'");
  const std::int64_t width =
      indent == nullptr || indent->as<None>() != nullptr ? -1 : to_integer(*indent, "indent");
  if (width > 16) throw Unsupported("tojson with so large an 'indent'");
  return to_json(input, width);
}

Value indented(const Value& input, const Arguments& arguments) {
  const Value* width = argument(arguments, 0, "width");
  const Value* first = argument(arguments, 1, "first");
  const Value* blank = argument(arguments, 2, "blank");
  const Text by =
      width == nullptr ? Text("    ")
      : width->as<Text>() != nullptr
          ? *width->as<Text>()
          : Text(std::string(
                static_cast<std::size_t>(std::clamp<std::int64_t>(to_integer(*width, "width"), 0, 1000)),
                ' '));
  const Text text = to_text(input);
  Text result = first != nullptr && is_true(*first) ? by : Text();
  std::size_t begin = 0;
  while (true) {
    const std::size_t end = text.bytes().find('\n', begin);
    const std::size_t stop = std::min(end, text.size());
    const bool fills = begin > 0 && (stop > begin || (blank != nullptr && is_true(*blank)));
    if (fills) result += by;
    result += text.slice(begin, std::min(stop + 1, text.size()));
    if (result.size() > kMaxTextBytes) throw Unsupported("a text is too large");
    if (end == std::string::npos) return result;
    begin = end + 1;
  }
}

Value items_of(const Value& input) {
  if (input.is_undefined()) return make_list({});
  const auto method = input.dict() == nullptr ? std::nullopt : method_of(input, "items");
  if (!method) throw Unsupported(fmt::format("items of {}", type_name(input)));
  return (*method->as<std::shared_ptr<Callable>>())->call({});
}

// selectattr(name, test, operand), rejectattr; select(test, operand), reject.
Value selected(const Value& input, const Arguments& arguments, bool by_attribute, bool keeps) {
  if (!arguments.named.empty()) throw Unsupported("a selection with named arguments");
  const std::size_t test = by_attribute ? 1 : 0;
  const std::vector<Value>& given = arguments.positional;
  if (given.size() < test || given.size() > test + 2) throw Unsupported("a selection with so many arguments");
  std::vector<Value> chosen;
  for (const Value& item : elements(input)) {
    const Value tested = by_attribute ? attribute_path(item, given[0]) : item;
    const bool holds = given.size() > test ? apply_test(to_text(given[test]).bytes(), tested,
                                                        given.size() > test + 1 ? &given[test + 1] : nullptr)
                                           : is_true(tested);
    if (holds == keeps) chosen.push_back(item);
  }
  return make_list(std::move(chosen));
}

Value mapped(const Value& input, const Arguments& arguments) {
  std::vector<Value> items = elements(input);
  if (const Value* attribute = argument(arguments, 1000, "attribute")) {
    const Value* missing = argument(arguments, 1000, "default");
    for (Value& item : items) {
      item = attribute_path(item, *attribute);
      if (item.is_undefined() && missing != nullptr) item = *missing;
    }
    return make_list(std::move(items));
  }
  if (arguments.positional.empty() || arguments.positional[0].as<Text>() == nullptr)
    throw Unsupported("map without a filter");
  Arguments rest{{arguments.positional.begin() + 1, arguments.positional.end()}, arguments.named};
  for (Value& item : items) item = apply_filter(arguments.positional[0].as<Text>()->bytes(), item, rest);
  return make_list(std::move(items));
}

Value reversed(const Value& input) {
  std::vector<Value> items = elements(input);
  std::reverse(items.begin(), items.end());
  return input.as<Text>() != nullptr ? Value(join("", items)) : make_list(std::move(items));
}

Value sorted_by_key(const Value& input, const Arguments& arguments) {
  if (input.dict() == nullptr || !arguments.positional.empty() || !arguments.named.empty())
    throw Unsupported("dictsort of what is no dictionary, or with arguments");
  std::vector<std::pair<Text, Value>> items = input.dict()->items;
  for (const auto& [key, value] : items) static_cast<void>(lower(key));  // refuses what it does not know
  std::stable_sort(items.begin(), items.end(), [](const auto& a, const auto& b) {
    return lower(a.first).bytes() < lower(b.first).bytes();
  });
  std::vector<Value> pairs;
  for (const auto& [key, value] : items) pairs.push_back(make_list({key, value}, true));
  return make_list(std::move(pairs));
}

// sort(reverse, case_sensitive, attribute)
Value sorted(const Value& input, const Arguments& arguments) {
  const auto is_set = [&](std::size_t index, const char* name) {
    const Value* given = argument(arguments, index, name);
    return given != nullptr && is_true(*given);
  };
  const bool by_case = is_set(1, "case_sensitive");
  const Value* attribute = argument(arguments, 2, "attribute");
  std::vector<std::pair<Value, Value>> keyed;
  for (const Value& item : elements(input)) {
    Value key = attribute == nullptr ? item : attribute_path(item, *attribute);
    if (const auto* text = key.as<Text>(); text != nullptr && !by_case) key = lower(*text);
    keyed.emplace_back(std::move(key), item);
  }
  const bool reverse = is_set(0, "reverse");
  std::stable_sort(keyed.begin(), keyed.end(), [&](const auto& a, const auto& b) {
    return reverse ? less(b.first, a.first) : less(a.first, b.first);
  });
  std::vector<Value> items;
  for (auto& [key, item] : keyed) items.push_back(std::move(item));
  return make_list(std::move(items));
}

// sum(attribute, start)
Value summed(const Value& input, const Arguments& arguments) {
  const Value* attribute = argument(arguments, 0, "attribute");
  const Value* start = argument(arguments, 1, "start");
  Value sum = start == nullptr ? Value(std::int64_t{0}) : *start;
  if (!sum.is_number()) throw Unsupported("a sum of what are no numbers");
  for (const Value& item : elements(input))
    sum = arithmetic("+", sum, attribute == nullptr ? item : attribute_path(item, *attribute));
  return sum;
}

const std::map<std::string, Filter>& filters() {
  static const std::map<std::string, Filter> kFilters{
      {"trim", trim},
      {"length", [](const Value& input, const Arguments&) -> Value { return length_of(input); }},
      {"count", [](const Value& input, const Arguments&) -> Value { return length_of(input); }},
      {"default", otherwise},
      {"d", otherwise},
      {"join", joined},
      {"replace", replaced},
      {"upper", [](const Value& input, const Arguments&) -> Value { return upper(to_text(input)); }},
      {"lower", [](const Value& input, const Arguments&) -> Value { return lower(to_text(input)); }},
      {"capitalize",
       [](const Value& input, const Arguments&) -> Value { return capitalize(to_text(input)); }},
      {"title", [](const Value& input, const Arguments&) -> Value { return title_filter(to_text(input)); }},
      {"first", [](const Value& input, const Arguments&) { return first_or_last(input, true); }},
      {"last", [](const Value& input, const Arguments&) { return first_or_last(input, false); }},
      {"list", [](const Value& input, const Arguments&) { return make_list(elements(input)); }},
      {"string", [](const Value& input, const Arguments&) -> Value { return to_text(input); }},
      {"safe", [](const Value& input, const Arguments&) -> Value { return to_text(input); }},
      {"int", integer},
      {"tojson", to_json_filter},
      {"indent", indented},
      {"items", [](const Value& input, const Arguments&) { return items_of(input); }},
      {"selectattr", [](const Value& input, const Arguments& a) { return selected(input, a, true, true); }},
      {"rejectattr", [](const Value& input, const Arguments& a) { return selected(input, a, true, false); }},
      {"select", [](const Value& input, const Arguments& a) { return selected(input, a, false, true); }},
      {"reject", [](const Value& input, const Arguments& a) { return selected(input, a, false, false); }},
      {"map", mapped},
      {"reverse", [](const Value& input, const Arguments&) { return reversed(input); }},
      {"dictsort", sorted_by_key},
      {"sort", sorted},
      {"sum", summed},
  };
  return kFilters;
}

Value range(const Arguments& arguments) {
  constexpr std::int64_t kMost = 100000;  // Jinja's own
  if (arguments.positional.empty() || arguments.positional.size() > 3)
    throw Unsupported("range of so many numbers");
  std::vector<std::int64_t> numbers;
  for (const Value& value : arguments.positional) numbers.push_back(to_integer(value, "a range's end"));
  const std::int64_t begin = numbers.size() > 1 ? numbers[0] : 0;
  const std::int64_t end = numbers.size() > 1 ? numbers[1] : numbers[0];
  const std::int64_t step = numbers.size() > 2 ? numbers[2] : 1;
  if (step == 0) throw Unsupported("a range has step 0");
  std::vector<Value> items;
  for (std::int64_t i = begin; step > 0 ? i < end : i > end;) {
    items.emplace_back(i);
    if (items.size() > kMost) throw Unsupported("a range is too large");
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  return make_list(std::move(items));
}

Value new_namespace(const Arguments& arguments) {
  auto dict = std::make_shared<Dict>();
  dict->opaque = dict->assignable = true;
  if (!arguments.positional.empty()) throw Unsupported("a namespace of a dictionary");
  for (const auto& [name, value] : arguments.named) {
    if (value.dict() != nullptr && value.dict()->opaque) throw Unsupported("a namespace in a namespace");
    dict->set(name, value);
  }
  return dict;
}

Value new_dict(const Arguments& arguments) {
  if (!arguments.positional.empty()) throw Unsupported("a dictionary of a dictionary");
  std::vector<std::pair<Text, Value>> items;
  for (const auto& [name, value] : arguments.named) items.emplace_back(name, value);
  return make_dict(std::move(items));
}

// Local time.
Value now(const Arguments& arguments) {
  if (arguments.positional.size() != 1 || arguments.positional[0].as<Text>() == nullptr)
    throw Unsupported("strftime_now without a format");
  const Text& format = *arguments.positional[0].as<Text>();
  const std::time_t seconds = std::time(nullptr);
  std::tm parts = {};
  localtime_r(&seconds, &parts);
  char text[1000];
  if (format.size() > 100) throw Unsupported("strftime_now with so long a format");
  const std::size_t length = std::strftime(text, sizeof(text), format.bytes().c_str(), &parts);
  return format.rewritten(std::string(text, length));
}

bool is_sequence(const Value& value) {
  return value.as<Text>() != nullptr || value.list() != nullptr || value.dict() != nullptr ||
         value.is_undefined();
}

}  // namespace

Value apply_filter(const std::string& name, const Value& input, const Arguments& arguments) {
  const auto filter = filters().find(name);
  if (filter == filters().end()) throw Unsupported(fmt::format("the filter '{}' is not supported", name));
  return filter->second(input, arguments);
}

bool apply_test(const std::string& name, const Value& value, const Value* operand) {
  if (operand != nullptr) {
    if (name == "equalto" || name == "eq" || name == "==") return equal(value, *operand);
    if (name == "ne" || name == "!=") return !equal(value, *operand);
    if (name == "in") return contains(*operand, value);
    throw Unsupported(fmt::format("the test '{}' of two values is not supported", name));
  }
  if (name == "defined") return !value.is_undefined();
  if (name == "undefined") return value.is_undefined();
  if (name == "none") return value.as<None>() != nullptr;
  if (name == "string") return value.as<Text>() != nullptr;
  if (name == "mapping") return value.dict() != nullptr && !value.dict()->opaque;
  if (name == "sequence" || name == "iterable") return is_sequence(value);
  if (name == "number") return value.is_number();
  if (name == "integer") return value.as<std::int64_t>() != nullptr;
  if (name == "float") return value.as<double>() != nullptr;
  if (name == "boolean") return value.as<bool>() != nullptr;
  if (name == "true") return value.as<bool>() != nullptr && *value.as<bool>();
  if (name == "false") return value.as<bool>() != nullptr && !*value.as<bool>();
  if (name == "callable") return value.as<std::shared_ptr<Callable>>() != nullptr;
  if (name == "odd" || name == "even")
    return (to_integer(value, "what is odd or even") % 2 != 0) == (name == "odd");
  throw Unsupported(fmt::format("the test '{}' is not supported", name));
}

Value find_function(const std::string& name) {
  if (name == "namespace") return make_callable(name, new_namespace);
  if (name == "range") return make_callable(name, range);
  if (name == "dict") return make_callable(name, new_dict);
  if (name == "strftime_now") return make_callable(name, now);
  if (name == "raise_exception") {
    return make_callable(name, [](const Arguments& arguments) -> Value {
      throw Refused(arguments.positional.empty() ? "it says no reason"
                                                 : to_text(arguments.positional[0]).bytes());
    });
  }
  if (name == "lipsum" || name == "cycler" || name == "joiner" || name == "self" || name == "varargs" ||
      name == "kwargs" || name == "caller")
    throw Unsupported(fmt::format("'{}' is not supported", name));
  return Undefined{fmt::format("'{}' is not there", name)};
}

}  // namespace spqr::jinja
