// Measurements of spqr-bench as rows of its table.
#pragma once

#include <vector>

#include "runtime/apps/bench_options.h"
#include "runtime/apps/bench_table.h"
#include "runtime/bench.h"
#include "runtime/operation_bench.h"

namespace spqr {

// llama-bench's names, and ours at the end.
BenchRow model_row(const Bench& bench, const BenchTest& test, const BenchResult& result);
// What is said of an operation before it is measured; null where an option is none of its.
BenchRow operation_parameters(const OperationCase& what, const SessionOptions& on);
// backend: its name.
BenchRow operation_row(BenchRow parameters, std::string_view backend, const OperationCase& what,
                       const OperationResult& result);

// Of md: what says what was measured, options that were given several values and that a row has a value of,
// and the results.
std::vector<BenchColumn> model_columns(const BenchRequest& request);
std::vector<BenchColumn> operation_columns(const BenchRequest& request);

}  // namespace spqr
