// JSON as files of unknown origin need it read: strictly.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace spqr {

// Parses one JSON document. Refused with std::runtime_error, naming `where`: anything but valid UTF-8 JSON,
// duplicate keys in an object, nesting deeper than 64.
nlohmann::json parse_json_strict(std::string_view text, const std::string& where);

}  // namespace spqr
