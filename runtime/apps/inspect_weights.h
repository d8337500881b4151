// spqr-inspect's questions about single weights: which of them matter, and where the outliers are.
#pragma once

#include <optional>

#include "runtime/apps/command_line.h"

namespace spqr {

// --sensitivity, --outliers, and what the first takes beside a checkpoint; but for --scheme, which is the
// tool's.
void add_weight_options(cxxopts::Options& options);

// Answers them, and returns the exit status; none where none was asked. Throws UsageError for options that do
// not go together, and what reading the model throws.
std::optional<int> inspect_weights(const cxxopts::ParseResult& options);

}  // namespace spqr
