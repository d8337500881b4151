#pragma once

#include <string_view>

#include "tokenizer/jinja/ast.h"

namespace spqr::jinja {

// Throws Unsupported for what is no template, and for statements that chat templates have no use for.
Body parse(std::string_view source);

}  // namespace spqr::jinja
