// Runs a parsed template.
#pragma once

#include <map>
#include <string>

#include "tokenizer/jinja/ast.h"
#include "tokenizer/jinja/value.h"

namespace spqr::jinja {

// What the template writes, given these variables. Throws Refused where it raises an exception of its own,
// Unsupported where something in it fails or is not supported, or takes too long.
Text evaluate(const Body& body, const std::map<std::string, Value>& variables);

}  // namespace spqr::jinja
