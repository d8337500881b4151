// What spqr-bench is asked to measure: options with several values, and every combination of them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/apps/bench_table.h"
#include "runtime/apps/session_options.h"
#include "runtime/bench_work.h"
#include "runtime/operation_bench.h"

namespace spqr {

void add_bench_options(cxxopts::Options& options);

struct BenchRequest {
  // Every combination of values; each has the context that the longest test needs.
  std::vector<SessionOptions> sessions;
  std::vector<BenchTest> tests;           // in each session
  std::vector<OperationCase> operations;  // instead, with the backend of each session
  std::int64_t repetitions = 0;
  TableFormat format = TableFormat::md;
  // Names of the options that were given more than one value: "batch-size", "bits", ...
  std::vector<std::string> varying;

  bool varies(const std::string& option) const;
};

// Throws UsageError.
BenchRequest bench_request(const cxxopts::ParseResult& parsed);

}  // namespace spqr
