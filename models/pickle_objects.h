// What a pickle may name, and what calling it with arguments means. See models/pickle.h.
#pragma once

#include <cstdint>
#include <string_view>
#include <variant>

#include "models/pickle.h"

namespace spqr::pickle {

// Name of an opcode that exists and that tensors do not need; empty: there is no such opcode.
std::string_view refused_opcode(std::uint8_t code);

// Of "module.name": one of those that this knows.
bool is_known_global(std::string_view name);

// The result of calling a global, or std::monostate where the arguments are not what it takes.
decltype(Value::data) call(std::string_view name, const Sequence& arguments);

// The storage of a persistent id, or std::monostate.
decltype(Value::data) storage_of(const Value& id);

}  // namespace spqr::pickle
