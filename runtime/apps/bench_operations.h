// What spqr-bench --op is asked to measure.
#pragma once

#include <vector>

#include "runtime/apps/bench_lists.h"
#include "runtime/operation_bench.h"

namespace spqr {

// Every combination of --op, --shape, -p, -d and what packed weights have. Throws UsageError.
std::vector<OperationCase> operation_cases(const cxxopts::ParseResult& parsed, OptionLists& lists);

}  // namespace spqr
