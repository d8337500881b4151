// Fields of JSON texts, checked: every error is a std::runtime_error that names the file and the field.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

namespace spqr {

using Json = nlohmann::json;

// Ids at or above this are refused: tables are as long as the largest id.
inline constexpr std::int32_t kMaxVocabSize = 1 << 24;

// Throws std::runtime_error unless `bytes` is a JSON object in UTF-8.
Json parse_json_object(const std::string& bytes, const std::string& file);

[[noreturn]] void fail(const std::string& where, const std::string& sentence);

// The member `key` of an object; throws where there is none or `object` is no object.
const Json& require(const Json& object, const char* key, const std::string& where);
// nullptr where there is none or it is null.
const Json* find_member(const Json& object, const char* key);

std::string string_of(const Json& value, const std::string& where);
bool bool_of(const Json& value, const std::string& where);
std::int64_t integer_of(const Json& value, const std::string& where);
// A token id: an integer of 0 .. kMaxVocabSize - 1.
std::int32_t id_of(const Json& value, const std::string& where);

std::string string_field(const Json& object, const char* key, const std::string& where);
bool bool_field(const Json& object, const char* key, bool fallback, const std::string& where);

}  // namespace spqr
