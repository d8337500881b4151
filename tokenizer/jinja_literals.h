// The constant texts in a Jinja template: enough to recognise what it writes, without running it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace spqr {

// Strings between quotes inside {{ }} and {% %}, escapes resolved, and the text outside of them, in order.
std::vector<std::string> jinja_literals(std::string_view source);

}  // namespace spqr
