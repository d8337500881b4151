// of[key] and of[begin:end:step], as Python has them.
#pragma once

#include <cstdint>
#include <optional>

#include "tokenizer/jinja/value.h"

namespace spqr::jinja {

// An element of a list, a character of a text, an entry or method of a dictionary; undefined if there is
// none.
Value element(const Value& of, const Value& key);

// Ends and steps that are not given are Python's None.
struct Slice {
  std::optional<std::int64_t> begin;
  std::optional<std::int64_t> end;
  std::optional<std::int64_t> step;
};
// Of a list or a text. Throws Unsupported for others and for step 0.
Value part(const Value& of, const Slice& slice);

}  // namespace spqr::jinja
