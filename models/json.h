// JSON as files of unknown origin need it read: strictly.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace spqr {

// Parses one JSON document. Refused with std::runtime_error, naming `where`: anything but valid UTF-8 JSON,
// duplicate keys in an object, nesting deeper than 64.
nlohmann::json parse_json_strict(std::string_view text, const std::string& where);

// Valid UTF-8 whatever the strings hold (names of files may be any bytes): what is not becomes U+FFFD. indent
// -1: one line.
std::string to_text(const nlohmann::json& value, int indent = -1);

}  // namespace spqr
