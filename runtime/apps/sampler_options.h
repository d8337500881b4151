// How tokens are chosen, as options and as settings of a conversation.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "runtime/apps/command_line.h"
#include "runtime/sampler.h"

namespace spqr {

// --temp --top-k --top-p --min-p --repeat-penalty --repeat-last-n --presence-penalty --frequency-penalty
// --seed
void add_sampler_options(cxxopts::Options& options);
// Throws UsageError for values out of range.
SamplerOptions sampler_options(const cxxopts::ParseResult& parsed);

// A whole number. Throws std::invalid_argument with a sentence naming it.
std::int64_t parse_number(std::string_view name, const std::string& text);

// The same by their names, for people who type them later.
std::vector<std::string> sampler_settings(const SamplerOptions& options);  // "temp 0.8", ...
// Throws std::invalid_argument with a sentence for an unknown name or a value out of range.
void change_setting(SamplerOptions& options, std::string_view name, const std::string& value);

}  // namespace spqr
