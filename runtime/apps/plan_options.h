// --plan: what a model takes of memory, without running it, and without the device it is planned for.
#pragma once

#include <optional>
#include <string>

#include "runtime/apps/command_line.h"
#include "runtime/session.h"

namespace spqr {

// --plan and --device-memory.
void add_plan_options(cxxopts::Options& options);

// "24GiB", "24GB", "512MiB", "1.5 GiB", or bytes. Throws UsageError.
std::size_t byte_size(const std::string& text);

// Of a device with so much memory, what is free before anything is in it: an A10 or an L4 of 24 GiB has 22.4
// GiB for programs, 0.5 GiB of which a CUDA context takes.
std::size_t free_of_device(std::size_t memory);

// Prints the plan of such a session for a model, as JSON if --json is given; then, where it does not fit,
// throws std::runtime_error with the numbers. options.context is planned for as it is, whatever the model was
// made for. file_bytes: of the model's file; nothing: there is none.
int print_plan(const cxxopts::ParseResult& parsed, const SessionOptions& options, ModelConfig config,
               WeightSource& weights, std::optional<std::size_t> file_bytes);

}  // namespace spqr
