// A config.json of any age or origin as today's transformers reads it.
#pragma once

#include <string>

namespace spqr {

// `json` is one that parse_config accepts. Adds model_type and architectures where they are missing; gives
// Falcon its names since 2023 (it was RefinedWeb, with code of its own in the checkpoint) and RoPE the form
// that every version reads. Throws std::runtime_error naming `where`.
std::string current_config_json(const std::string& json, const std::string& where);

}  // namespace spqr
