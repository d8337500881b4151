// Our executables, run as a user runs them.
#pragma once

#include <string>
#include <vector>

#include "tests/runtime/process.h"

namespace spqr {

using Arguments = std::vector<std::string>;

// The tool's path and these arguments.
Arguments command(const std::string& tool, const Arguments& arguments);

Finished run(const std::string& tool, const Arguments& arguments);

// Checks for this exit status, nothing on standard output, and one line on standard error that has `part` in
// it.
void check_refused(const std::string& tool, const Arguments& arguments, int status, const std::string& part);

}  // namespace spqr
