#include "tokenizer/jinja/value.h"

#include <fmt/format.h>

#include <cmath>

namespace spqr::jinja {
namespace {

constexpr int kMaxDepth = 100;
constexpr std::int64_t kMaxWeight = 1 << 22;

// Lists in themselves cannot be made: what can change is in none.
void require_plain(const Value& item) {
  if (item.dict() != nullptr && item.dict()->opaque) throw Unsupported("a namespace or 'loop' is in a list");
}

std::int64_t checked_weight(std::int64_t weight) {
  if (weight > kMaxWeight) throw Unsupported("a list is too large");
  return weight;
}

double number_of(const Value& value) {
  if (const auto* flag = value.as<bool>()) return *flag ? 1 : 0;
  if (const auto* integer = value.as<std::int64_t>()) return static_cast<double>(*integer);
  return *value.as<double>();
}

std::string float_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  if (value == std::floor(value) && std::abs(value) < 1e16) return fmt::format("{:.1f}", value);
  return fmt::format("{}", value);
}

// Characters of strings that the notation writes otherwise; empty: none.
using Escape = std::string (*)(char c, char quote);

std::string python_escape(char c, char quote) {
  if (c == quote || c == '\\') return std::string("\\") + c;
  if (c == '\n') return "\\n";
  if (c == '\r') return "\\r";
  if (c == '\t') return "\\t";
  const auto byte = static_cast<unsigned char>(c);
  return byte < 0x20 || byte == 0x7F ? fmt::format("\\x{:02x}", byte) : std::string();
}

std::string json_escape(char c, char quote) {
  if (c == '\b') return "\\b";
  if (c == '\f') return "\\f";
  const auto byte = static_cast<unsigned char>(c);
  if (c == '\n' || c == '\r' || c == '\t' || c == '\\' || c == quote) return python_escape(c, quote);
  return byte < 0x20 ? fmt::format("\\u{:04x}", byte) : std::string();
}

Text quoted(const Text& text, char quote, Escape escape) {
  Text out{std::string(1, quote)};
  std::size_t plain = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const std::string other = escape(text.bytes()[i], quote);
    if (other.empty()) continue;
    out += text.slice(plain, i);
    out += text.slice(i, i + 1).rewritten(other);
    plain = i + 1;
  }
  out += text.slice(plain, text.size());
  return out + std::string(1, quote);
}

Text repr(const Value& value, int depth);

Text repr_items(const List& list, int depth) {
  Text out = list.tuple ? "(" : "[";
  for (std::size_t i = 0; i < list.items.size(); ++i) {
    if (i > 0) out += ", ";
    out += repr(list.items[i], depth);
  }
  if (list.tuple && list.items.size() == 1) out += ",";
  return out + (list.tuple ? ")" : "]");
}

Text repr(const Value& value, int depth) {
  if (depth > kMaxDepth) throw Unsupported("lists are nested too deeply");
  if (const auto* text = value.as<Text>()) {
    const bool single = text->bytes().find('\'') != std::string::npos;
    const bool both = single && text->bytes().find('"') != std::string::npos;
    return quoted(*text, single && !both ? '"' : '\'', python_escape);
  }
  if (const List* list = value.list()) return repr_items(*list, depth + 1);
  if (const Dict* dict = value.dict()) {
    if (dict->opaque) throw Unsupported("a namespace or 'loop' is printed");
    Text out = "{";
    for (const auto& [key, item] : dict->items) {
      if (out.size() > 1) out += ", ";
      out += repr(key, depth) + ": " + repr(item, depth + 1);
    }
    return out + "}";
  }
  if (value.is_undefined()) return "Undefined";
  return to_text(value);
}

struct Json {
  std::int64_t indent;
  Text out{};

  void line(int depth) {
    if (indent >= 0) out += "\n" + std::string(static_cast<std::size_t>(indent * depth), ' ');
  }
  void write(const Value& value, int depth) {
    if (depth > kMaxDepth) throw Unsupported("lists are nested too deeply");
    if (const auto* text = value.as<Text>()) {
      out += quoted(*text, '"', json_escape);
    } else if (value.as<None>() != nullptr) {
      out += "null";
    } else if (const auto* flag = value.as<bool>()) {
      out += *flag ? "true" : "false";
    } else if (value.is_number()) {
      out += to_text(value);
    } else if (const List* list = value.list()) {
      write_items(list->items.size(), "[", "]", depth,
                  [&](std::size_t i) { write(list->items[i], depth + 1); });
    } else if (const Dict* dict = value.dict()) {
      write_items(dict->items.size(), "{", "}", depth, [&](std::size_t i) {
        out += quoted(dict->items[i].first, '"', json_escape) + ": ";
        write(dict->items[i].second, depth + 1);
      });
    } else {
      throw Unsupported(fmt::format("tojson of {}", type_name(value)));
    }
  }
  template <typename Item>
  void write_items(std::size_t count, const char* open, const char* close, int depth, Item item) {
    out += open;
    for (std::size_t i = 0; i < count; ++i) {
      if (i > 0) out += indent >= 0 ? "," : ", ";
      line(depth + 1);
      item(i);
    }
    if (count > 0) line(depth);
    out += close;
  }
};

}  // namespace

const Value* Dict::find(const std::string& key) const {
  for (const auto& [name, value] : items) {
    if (name.bytes() == key) return &value;
  }
  return nullptr;
}

void Dict::set(const Text& key, Value value) {
  for (auto& [name, old] : items) {
    if (name == key) {
      old = std::move(value);
      return;
    }
  }
  items.emplace_back(key, std::move(value));
}

const List* Value::list() const {
  const auto* list = as<std::shared_ptr<List>>();
  return list == nullptr ? nullptr : list->get();
}

const Dict* Value::dict() const {
  const auto* dict = as<std::shared_ptr<Dict>>();
  return dict == nullptr ? nullptr : dict->get();
}

bool Value::is_number() const {
  return as<bool>() != nullptr || as<std::int64_t>() != nullptr || as<double>() != nullptr;
}

Value make_list(std::vector<Value> items, bool tuple) {
  std::int64_t weight = 1;
  for (const Value& item : items) {
    require_plain(item);
    weight = checked_weight(weight + weight_of(item));
  }
  return std::make_shared<List>(List{std::move(items), tuple, weight});
}

Value make_dict(std::vector<std::pair<Text, Value>> items) {
  auto dict = std::make_shared<Dict>();
  dict->weight = 1;
  for (auto& [key, item] : items) {
    require_plain(item);
    dict->weight = checked_weight(dict->weight + weight_of(key) + weight_of(item));
    dict->set(key, std::move(item));
  }
  return dict;
}

std::int64_t weight_of(const Value& value) {
  if (const auto* text = value.as<Text>()) return 1 + static_cast<std::int64_t>(text->size() / 16);
  if (const List* list = value.list()) return list->weight;
  if (const Dict* dict = value.dict()) return 1 + dict->weight;
  return 1;
}

Value make_callable(std::string name, std::function<Value(const Arguments&)> call) {
  return std::make_shared<Callable>(Callable{std::move(name), std::move(call)});
}

bool is_true(const Value& value) {
  if (value.is_number()) return number_of(value) != 0;
  if (const auto* text = value.as<Text>()) return !text->empty();
  if (const List* list = value.list()) return !list->items.empty();
  if (const Dict* dict = value.dict()) return dict->opaque || !dict->items.empty();
  return value.as<std::shared_ptr<Callable>>() != nullptr;
}

Text to_text(const Value& value) {
  if (const auto* text = value.as<Text>()) return *text;
  if (value.is_undefined()) return {};
  if (value.as<None>() != nullptr) return "None";
  if (const auto* flag = value.as<bool>()) return *flag ? "True" : "False";
  if (const auto* integer = value.as<std::int64_t>()) return fmt::format("{}", *integer);
  if (const auto* number = value.as<double>()) return float_text(*number);
  if (const auto* callable = value.as<std::shared_ptr<Callable>>())
    throw Unsupported(fmt::format("{} is printed without being called", (*callable)->name));
  return repr(value, 0);
}

Text to_repr(const Value& value) {
  return repr(value, 0);
}

Text to_json(const Value& value, std::int64_t indent) {
  Json json{indent};
  json.write(value, 0);
  return json.out;
}

bool equal(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) return number_of(a) == number_of(b);
  if (a.index() != b.index()) return false;
  if (const auto* text = a.as<Text>()) return *text == *b.as<Text>();
  if (const List* list = a.list()) {
    const List& other = *b.list();
    if (list->tuple != other.tuple || list->items.size() != other.items.size()) return false;
    for (std::size_t i = 0; i < list->items.size(); ++i) {
      if (!equal(list->items[i], other.items[i])) return false;
    }
    return true;
  }
  if (const Dict* dict = a.dict()) {
    const Dict& other = *b.dict();
    if (dict == &other) return true;
    if (dict->items.size() != other.items.size()) return false;
    for (const auto& [key, value] : dict->items) {
      const Value* same = other.find(key.bytes());
      if (same == nullptr || !equal(value, *same)) return false;
    }
    return true;
  }
  if (const auto* callable = a.as<std::shared_ptr<Callable>>())
    return *callable == *b.as<std::shared_ptr<Callable>>();
  return true;
}

bool less(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) return number_of(a) < number_of(b);
  const auto* left = a.as<Text>();
  const auto* right = b.as<Text>();
  if (left == nullptr || right == nullptr)
    throw Unsupported(fmt::format("{} is compared with {}", type_name(a), type_name(b)));
  return left->bytes() < right->bytes();
}

bool contains(const Value& whole, const Value& part) {
  if (const auto* text = whole.as<Text>()) {
    const auto* piece = part.as<Text>();
    if (piece == nullptr) throw Unsupported(fmt::format("{} is looked for in a text", type_name(part)));
    return text->bytes().find(piece->bytes()) != std::string::npos;
  }
  if (const Dict* dict = whole.dict()) {
    const auto* key = part.as<Text>();
    return key != nullptr && dict->find(key->bytes()) != nullptr;
  }
  for (const Value& item : elements(whole)) {
    if (equal(item, part)) return true;
  }
  return false;
}

std::vector<Value> elements(const Value& value) {
  std::vector<Value> items;
  if (value.is_undefined()) return items;
  if (const List* list = value.list()) return list->items;
  if (const Dict* dict = value.dict(); dict != nullptr && !dict->opaque) {
    for (const auto& [key, item] : dict->items) items.emplace_back(key);
    return items;
  }
  if (const auto* text = value.as<Text>()) {
    const std::vector<std::size_t> at = code_point_offsets(text->bytes());
    for (std::size_t i = 0; i + 1 < at.size(); ++i) items.emplace_back(text->slice(at[i], at[i + 1]));
    return items;
  }
  throw Unsupported(fmt::format("elements of {} are asked for", type_name(value)));
}

std::int64_t to_integer(const Value& value, const char* what) {
  if (const auto* integer = value.as<std::int64_t>()) return *integer;
  if (const auto* flag = value.as<bool>()) return *flag ? 1 : 0;
  throw Unsupported(fmt::format("{} is {}, expected a number", what, type_name(value)));
}

const char* type_name(const Value& value) {
  static constexpr const char* kNames[] = {
      "an undefined value", "None",      "a bool", "an int", "a float", "a text", "a list",
      "a dictionary",       "a function"};
  return kNames[value.index()];
}

}  // namespace spqr::jinja
