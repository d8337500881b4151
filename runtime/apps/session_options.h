// The options that every tool which runs a model has.
#pragma once

#include <string>

#include "runtime/apps/command_line.h"
#include "runtime/session.h"

namespace spqr {

// -m -c -b -t --backend --cache-type-k --cache-type-v --no-mmap --verify
void add_session_options(cxxopts::Options& options);
// Throws UsageError for values out of range.
SessionOptions session_options(const cxxopts::ParseResult& parsed);

// A positive whole number no larger than `most`, or UsageError.
std::int64_t positive(const cxxopts::ParseResult& parsed, const std::string& name,
                      std::int64_t most = 1'000'000'000);

}  // namespace spqr
