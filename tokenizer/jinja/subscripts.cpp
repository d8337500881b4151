#include "tokenizer/jinja/subscripts.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "tokenizer/jinja/builtins.h"

namespace spqr::jinja {
namespace {

std::size_t length(const Value& of) {
  if (const List* list = of.list()) return list->items.size();
  return code_point_offsets(of.as<Text>()->bytes()).size() - 1;
}

}  // namespace

Value element(const Value& of, const Value& key) {
  if (const auto* name = key.as<Text>()) {
    if (const Dict* dict = of.dict()) {
      if (const Value* found = dict->find(name->bytes())) return *found;
    }
    if (auto method = method_of(of, name->bytes())) return *method;
    return Undefined{fmt::format("no element '{}'", name->bytes())};
  }
  if (of.list() == nullptr && of.as<Text>() == nullptr) return Undefined{"an element of what has none"};
  if (key.is_undefined() || key.as<None>() != nullptr) return Undefined{"an element without a number"};
  const std::int64_t index = to_integer(key, "an element's number");
  const auto size = static_cast<std::int64_t>(length(of));
  const std::int64_t at = index < 0 ? index + size : index;
  if (at < 0 || at >= size) return Undefined{fmt::format("there is no element {}", index)};
  if (const List* list = of.list()) return list->items[static_cast<std::size_t>(at)];
  const auto& text = *of.as<Text>();
  const std::vector<std::size_t> offsets = code_point_offsets(text.bytes());
  return text.slice(offsets[static_cast<std::size_t>(at)], offsets[static_cast<std::size_t>(at) + 1]);
}

Value part(const Value& of, const Slice& slice) {
  if (of.as<Text>() == nullptr && of.list() == nullptr)
    throw Unsupported(fmt::format("a part of {} is asked for", type_name(of)));
  const auto size = static_cast<std::int64_t>(length(of));
  const std::int64_t step = slice.step.value_or(1);
  if (step == 0) throw Unsupported("a part has step 0");
  const auto place = [&](const std::optional<std::int64_t>& given, std::int64_t otherwise) {
    if (!given) return otherwise;
    const std::int64_t at = *given < 0 ? *given + size : *given;
    return std::clamp<std::int64_t>(at, step > 0 ? 0 : -1, step > 0 ? size : size - 1);
  };
  const std::int64_t begin = place(slice.begin, step > 0 ? 0 : size - 1);
  const std::int64_t end = place(slice.end, step > 0 ? size : -1);
  const std::vector<Value> items = elements(of);
  std::vector<Value> chosen;
  for (std::int64_t i = begin; step > 0 ? i < end : i > end;) {
    chosen.push_back(items[static_cast<std::size_t>(i)]);
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  return of.list() != nullptr ? make_list(std::move(chosen), of.list()->tuple) : Value(join("", chosen));
}

}  // namespace spqr::jinja
