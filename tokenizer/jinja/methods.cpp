// Methods of texts and dictionaries.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>

#include "tokenizer/jinja/builtins.h"

namespace spqr::jinja {
namespace {

using TextMethod = Value (*)(const Text& text, const Arguments& arguments);
using DictMethod = Value (*)(const Dict& dict, const Arguments& arguments);

const Text& text_argument(const Arguments& arguments, std::size_t index, const char* what) {
  const Value* value = argument(arguments, index, what);
  if (value == nullptr || value->as<Text>() == nullptr)
    throw Unsupported(fmt::format("'{}' of a method is no text", what));
  return *value->as<Text>();
}

// The characters that strip() takes off; null: white space.
const std::string* characters(const Arguments& arguments) {
  const Value* given = argument(arguments, 0, "chars");
  if (given == nullptr || given->as<None>() != nullptr) return nullptr;
  return &text_argument(arguments, 0, "chars").bytes();
}

std::int64_t count_argument(const Arguments& arguments, std::size_t index, const char* name) {
  const Value* given = argument(arguments, index, name);
  return given == nullptr ? -1 : to_integer(*given, name);
}

Value split_at(const Text& text, const Text& separator, std::int64_t most) {
  if (separator.empty()) throw Unsupported("a text is split at nothing");
  std::vector<Value> parts;
  std::size_t begin = 0;
  for (; most != 0; --most) {
    const std::size_t at = text.bytes().find(separator.bytes(), begin);
    if (at == std::string::npos) break;
    parts.emplace_back(text.slice(begin, at));
    begin = at + separator.size();
  }
  parts.emplace_back(text.slice(begin, text.size()));
  return make_list(std::move(parts));
}

Value split_at_space(const Text& text, std::int64_t most) {
  std::vector<Value> parts;
  Text rest = strip_left(text);
  while (!rest.empty() && most-- != 0) {
    std::size_t end = 0;
    for (std::size_t at = 0; at < rest.size(); end = at) {
      if (is_space(next_code_point(rest.bytes(), at))) break;
    }
    parts.emplace_back(rest.slice(0, end));
    rest = strip_left(rest.slice(end, rest.size()));
    if (parts.size() > 100000) throw Unsupported("a text has too many words");
  }
  if (!rest.empty()) parts.emplace_back(rest);
  return make_list(std::move(parts));
}

Value split(const Text& text, const Arguments& arguments) {
  const Value* separator = argument(arguments, 0, "sep");
  const std::int64_t most = count_argument(arguments, 1, "maxsplit");
  if (separator == nullptr || separator->as<None>() != nullptr) return split_at_space(text, most);
  return split_at(text, text_argument(arguments, 0, "sep"), most);
}

Value split_from_right(const Text& text, const Arguments& arguments) {
  const Value* given = argument(arguments, 0, "sep");
  std::int64_t most = count_argument(arguments, 1, "maxsplit");
  if (most < 0) return split(text, arguments);
  if (given == nullptr || given->as<None>() != nullptr) throw Unsupported("rsplit at white space, so often");
  const Text& separator = text_argument(arguments, 0, "sep");
  if (separator.empty()) throw Unsupported("a text is split at nothing");
  std::vector<Value> parts;
  std::size_t end = text.size();
  for (; most > 0 && end >= separator.size(); --most) {
    const std::size_t at = text.bytes().rfind(separator.bytes(), end - separator.size());
    if (at == std::string::npos) break;
    parts.emplace_back(text.slice(at + separator.size(), end));
    end = at;
  }
  parts.emplace_back(text.slice(0, end));
  std::reverse(parts.begin(), parts.end());
  return make_list(std::move(parts));
}

// The place of a part, in characters; -1: it is not there.
Value find(const Text& text, const Arguments& arguments) {
  if (arguments.positional.size() != 1 || !arguments.named.empty())
    throw Unsupported("find from some place on");
  const std::size_t at = text.bytes().find(text_argument(arguments, 0, "sub").bytes());
  if (at == std::string::npos) return std::int64_t{-1};
  return static_cast<std::int64_t>(code_point_offsets(text.bytes().substr(0, at)).size()) - 1;
}

// {}, {0} and {name}, without the notations for widths and the like.
Value format(const Text& text, const Arguments& arguments) {
  const std::string& bytes = text.bytes();
  Text result;
  std::size_t plain = 0;
  std::size_t next = 0;
  const auto field = [&](const std::string& name) {
    const bool is_number = name.find_first_not_of("0123456789") == std::string::npos && name.size() < 4;
    const std::size_t index = !is_number     ? arguments.positional.size()
                              : name.empty() ? next++
                                             : std::stoul(name);
    const Value* value = argument(arguments, index, name.c_str());
    if (value == nullptr) throw Unsupported(fmt::format("format has no argument for '{{{}}}'", name));
    return to_text(*value);
  };
  for (std::size_t at = bytes.find_first_of("{}"); at != std::string::npos;
       at = bytes.find_first_of("{}", plain)) {
    result += text.slice(plain, at);
    if (bytes.compare(at + 1, 1, bytes, at, 1) == 0) {  // {{ or }}
      result += text.slice(at, at + 1);
      plain = at + 2;
      continue;
    }
    const std::size_t close = bytes.find('}', at);
    if (bytes[at] == '}' || close == std::string::npos) throw Unsupported("format with a brace alone");
    const std::string name = bytes.substr(at + 1, close - at - 1);
    if (name.find_first_of("{:!.[") != std::string::npos)
      throw Unsupported(fmt::format("format with '{{{}}}'", name));
    result += field(name);
    if (result.size() > kMaxTextBytes) throw Unsupported("a text is too large");
    plain = close + 1;
  }
  return result + text.slice(plain, text.size());
}

bool begins_or_ends(const Text& text, const Arguments& arguments, bool begins) {
  if (arguments.positional.size() != 1) throw Unsupported("startswith or endswith with a place");
  const Value& given = arguments.positional[0];
  const List* several = given.list();
  const std::vector<Value> options = several != nullptr ? several->items : std::vector<Value>{given};
  for (const Value& option : options) {
    if (option.as<Text>() == nullptr) throw Unsupported("startswith or endswith of what is no text");
    const std::string& part = option.as<Text>()->bytes();
    if (begins ? text.bytes().starts_with(part) : text.bytes().ends_with(part)) return true;
  }
  return false;
}

const std::map<std::string, TextMethod>& text_methods() {
  static const std::map<std::string, TextMethod> kMethods{
      {"strip",
       [](const Text& text, const Arguments& a) -> Value {
         return strip_left(strip_right(text, characters(a)), characters(a));
       }},
      {"lstrip",
       [](const Text& text, const Arguments& a) -> Value { return strip_left(text, characters(a)); }},
      {"rstrip",
       [](const Text& text, const Arguments& a) -> Value { return strip_right(text, characters(a)); }},
      {"split", split},
      {"rsplit", split_from_right},
      {"find", find},
      {"format", format},
      {"startswith",
       [](const Text& text, const Arguments& a) -> Value { return begins_or_ends(text, a, true); }},
      {"endswith",
       [](const Text& text, const Arguments& a) -> Value { return begins_or_ends(text, a, false); }},
      {"upper", [](const Text& text, const Arguments&) -> Value { return upper(text); }},
      {"lower", [](const Text& text, const Arguments&) -> Value { return lower(text); }},
      {"capitalize", [](const Text& text, const Arguments&) -> Value { return capitalize(text); }},
      {"title", [](const Text& text, const Arguments&) -> Value { return title(text); }},
      {"replace",
       [](const Text& text, const Arguments& a) -> Value {
         return replace(text, text_argument(a, 0, "old"), text_argument(a, 1, "new"),
                        count_argument(a, 2, "count"));
       }},
      {"join",
       [](const Text& text, const Arguments& a) -> Value {
         const Value* items = argument(a, 0, "iterable");
         if (items == nullptr) throw Unsupported("join of nothing");
         const std::vector<Value> all = elements(*items);
         for (const Value& item : all) {
           if (item.as<Text>() == nullptr) throw Unsupported("join of what is no text");
         }
         return join(text, all);
       }},
  };
  return kMethods;
}

// The others that Python has: a key of that name is not what is meant.
bool is_python_method(const std::string& name) {
  static constexpr std::array<const char*, 33> kNames{
      "casefold",   "center",       "count",        "encode",    "expandtabs", "format_map",   "index",
      "isalnum",    "isalpha",      "isascii",      "isdecimal", "isdigit",    "isidentifier", "islower",
      "isnumeric",  "isprintable",  "isspace",      "istitle",   "isupper",    "ljust",        "maketrans",
      "partition",  "removeprefix", "removesuffix", "rfind",     "rindex",     "rjust",        "rpartition",
      "splitlines", "swapcase",     "translate",    "zfill",     "append"};
  for (const char* known : kNames) {
    if (name == known) return true;
  }
  return false;
}

const std::map<std::string, DictMethod>& dict_methods() {
  static const std::map<std::string, DictMethod> kMethods{
      {"get",
       [](const Dict& dict, const Arguments& a) -> Value {
         const Value* key = argument(a, 0, "key");
         const Value* otherwise = argument(a, 1, "default");
         const Value* found =
             key == nullptr || key->as<Text>() == nullptr ? nullptr : dict.find(key->as<Text>()->bytes());
         return found != nullptr ? *found : otherwise != nullptr ? *otherwise : Value(None());
       }},
      {"items",
       [](const Dict& dict, const Arguments&) -> Value {
         std::vector<Value> items;
         for (const auto& [key, value] : dict.items) items.push_back(make_list({key, value}, true));
         return make_list(std::move(items));
       }},
      {"keys",
       [](const Dict& dict, const Arguments&) -> Value {
         std::vector<Value> keys;
         for (const auto& [key, value] : dict.items) keys.emplace_back(key);
         return make_list(std::move(keys));
       }},
      {"values",
       [](const Dict& dict, const Arguments&) -> Value {
         std::vector<Value> values;
         for (const auto& [key, value] : dict.items) values.push_back(value);
         return make_list(std::move(values));
       }},
  };
  return kMethods;
}

bool changes_dict(const std::string& name) {
  return name == "pop" || name == "update" || name == "copy" || name == "clear" || name == "setdefault" ||
         name == "popitem" || name == "fromkeys";
}

}  // namespace

const Value* argument(const Arguments& arguments, std::size_t index, const char* name) {
  if (index < arguments.positional.size()) return &arguments.positional[index];
  for (const auto& [given, value] : arguments.named) {
    if (given == name) return &value;
  }
  return nullptr;
}

std::optional<Value> method_of(const Value& object, const std::string& name) {
  if (const auto* text = object.as<Text>()) {
    if (is_python_method(name)) throw Unsupported(fmt::format("the method '{}' is not supported", name));
    const auto method = text_methods().find(name);
    if (method == text_methods().end()) return std::nullopt;
    return make_callable(name, [text = *text, call = method->second](const Arguments& arguments) {
      return call(text, arguments);
    });
  }
  if (const auto* dict = object.as<std::shared_ptr<Dict>>(); dict != nullptr && !(*dict)->opaque) {
    if (changes_dict(name)) throw Unsupported(fmt::format("the method '{}' is not supported", name));
    const auto method = dict_methods().find(name);
    if (method == dict_methods().end()) return std::nullopt;
    return make_callable(name, [dict = *dict, call = method->second](const Arguments& arguments) {
      return call(*dict, arguments);
    });
  }
  if (object.list() != nullptr && (name == "append" || name == "index" || name == "count" || name == "pop" ||
                                   name == "insert" || name == "extend" || name == "remove" ||
                                   name == "sort" || name == "reverse" || name == "copy" || name == "clear"))
    throw Unsupported(fmt::format("the method '{}' is not supported", name));
  return std::nullopt;
}

Value attribute_of(const Value& object, const std::string& name) {
  if (name.starts_with("__")) throw Unsupported(fmt::format("'{}' is not supported", name));
  if (auto method = method_of(object, name)) return *method;
  if (const Dict* dict = object.dict()) {
    if (const Value* found = dict->find(name)) return *found;
    if (dict->opaque && !dict->assignable) throw Unsupported(fmt::format("'loop.{}' is not supported", name));
  }
  return Undefined{fmt::format("'{}' is not there", name)};
}

}  // namespace spqr::jinja
