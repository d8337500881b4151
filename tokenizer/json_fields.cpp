#include "tokenizer/json_fields.h"

#include <fmt/core.h>

#include <stdexcept>

namespace spqr {

Json parse_json_object(const std::string& bytes, const std::string& file) {
  Json json;
  try {
    json = Json::parse(bytes);
  } catch (const Json::exception& error) {
    fail(file, fmt::format("is not valid JSON ({}); incomplete download?", error.what()));
  }
  if (!json.is_object()) fail(file, fmt::format("expected a JSON object, found {}", json.type_name()));
  return json;
}

void fail(const std::string& where, const std::string& sentence) {
  throw std::runtime_error(fmt::format("{}: {}", where, sentence));
}

const Json& require(const Json& object, const char* key, const std::string& where) {
  if (!object.is_object()) fail(where, fmt::format("expected an object, found {}", object.type_name()));
  const auto found = object.find(key);
  if (found == object.end()) fail(where, fmt::format("'{}' is missing", key));
  return *found;
}

const Json* find_member(const Json& object, const char* key) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

std::string string_of(const Json& value, const std::string& where) {
  if (!value.is_string()) fail(where, fmt::format("expected a string, found {}", value.type_name()));
  return value.get<std::string>();
}

bool bool_of(const Json& value, const std::string& where) {
  if (!value.is_boolean()) fail(where, fmt::format("expected true or false, found {}", value.type_name()));
  return value.get<bool>();
}

std::int64_t integer_of(const Json& value, const std::string& where) {
  if (!value.is_number_integer())
    fail(where, fmt::format("expected an integer, found {}", value.type_name()));
  if (value.is_number_unsigned() && value.get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX)) {
    fail(where, fmt::format("{} is too large", value.get<std::uint64_t>()));
  }
  return value.get<std::int64_t>();
}

std::int32_t id_of(const Json& value, const std::string& where) {
  const std::int64_t id = integer_of(value, where);
  if (id < 0 || id >= kMaxVocabSize) {
    fail(where, fmt::format("token id {} is not within 0 .. {}", id, kMaxVocabSize - 1));
  }
  return static_cast<std::int32_t>(id);
}

std::string string_field(const Json& object, const char* key, const std::string& where) {
  return string_of(require(object, key, where), fmt::format("{}: '{}'", where, key));
}

bool bool_field(const Json& object, const char* key, bool fallback, const std::string& where) {
  const Json* value = find_member(object, key);
  return value == nullptr ? fallback : bool_of(*value, fmt::format("{}: '{}'", where, key));
}

}  // namespace spqr
