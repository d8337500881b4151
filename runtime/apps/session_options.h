// The options that every tool which runs a model has.
#pragma once

#include <span>
#include <string>

#include "runtime/apps/command_line.h"
#include "runtime/session.h"

namespace spqr {

// An option that takes a value, which a tool may also take several of.
struct SessionValue {
  const char* names;  // as cxxopts takes them
  const char* help;
  const char* standard;  // null: must be given to have a value
  bool number;           // whole, or a text
};
// All of them but -c, whose meaning is the tool's.
std::span<const SessionValue> session_values();
// Those without: --no-mmap --mlock --verify, and -ngl.
void add_session_flags(cxxopts::Options& options);

// -m -c -b -t -ngl --backend --cache-type-k --cache-type-v --no-mmap --mlock --verify. `context`: the help of
// -c.
void add_session_options(
    cxxopts::Options& options,
    const char* context =
        "tokens of context; 0: the smallest of the model's maximum, 4096 and what fits memory");
// Throws UsageError for values out of range.
SessionOptions session_options(const cxxopts::ParseResult& parsed);
// Those of them that memory is planned with: -c -b -ngl --backend --cache-type-k --cache-type-v.
SessionOptions memory_options(const cxxopts::ParseResult& parsed);
// Says why, where blocks were asked to run on a GPU and will not. With --backend cuda that is an error later.
void warn_of_absent_gpu(const SessionOptions& options);
// The same for what needs no model.
SessionOptions options_without_model(const cxxopts::ParseResult& parsed);

// "f32", "f16" or "q8_0", or UsageError.
CacheType cache_type(const std::string& name);

// A whole number from 0 to `most`, or UsageError.
std::int64_t none_or_more(const cxxopts::ParseResult& parsed, const std::string& name,
                          std::int64_t most = 1'000'000'000);
// Of --threads; 0: one per core.
int thread_count(const cxxopts::ParseResult& parsed);

// A positive whole number no larger than `most`, or UsageError.
std::int64_t positive(const cxxopts::ParseResult& parsed, const std::string& name,
                      std::int64_t most = 1'000'000'000);

}  // namespace spqr
