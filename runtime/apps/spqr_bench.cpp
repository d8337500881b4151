// spqr-bench: speed of a model's prompts and decoding, or of single operations, beside what the machine can
// do.
#include <fmt/core.h>

#include <set>

#include "runtime/apps/bench_options.h"
#include "runtime/apps/bench_rows.h"
#include "runtime/apps/bench_table.h"

namespace {

using namespace spqr;

// Prints rows as they come.
class Report {
 public:
  explicit Report(BenchTable table) : table_(std::move(table)) {}

  // False: nobody reads them any more.
  bool add(const BenchRow& row) {
    ++rows_;
    return print(table_.add(row));
  }
  void end() { print(table_.end()); }
  bool empty() const { return rows_ == 0; }

 private:
  BenchTable table_;
  int rows_ = 0;
};

void measure_models(const BenchRequest& request, const MachineLimits& limits, Report& report) {
  for (const SessionOptions& options : request.sessions) {
    Bench bench(options);
    for (const BenchTest& test : request.tests) bench.require_room(test);
    for (const BenchTest& test : request.tests) {
      const BenchResult result = bench.run(test, request.repetitions, limits, interrupted);
      if (!report.add(model_row(bench, test, result))) return;
    }
  }
}

void measure_operations(const BenchRequest& request, const MachineLimits& limits, Report& report) {
  std::set<std::string> measured;  // what differs only in options that an operation does not have is the same
  for (const SessionOptions& on : request.sessions) {
    const BackendOptions options{on.threads, on.activations, on.isa};
    const std::unique_ptr<Backend> backend = make_backend(on.backend, options);
    for (OperationCase what : request.operations) {
      what.cache_types = on.cache_types;
      const BenchRow parameters = operation_parameters(what, on);
      if (!measured.insert(parameters.dump()).second) continue;
      const OperationResult result =
          run_operation(what, *backend, options, request.repetitions, limits, interrupted);
      if (!(result.relative_error <= result.tolerance)) {
        throw std::runtime_error(
            fmt::format("{} is off by {:.2e} of what the reference computes, more than {:.2e}",
                        name_of(what.operation), result.relative_error, result.tolerance));
      }
      if (!report.add(operation_row(parameters, backend->name(), what, result))) return;
    }
  }
}

int run(const cxxopts::ParseResult& parsed) {
  const BenchRequest request = bench_request(parsed);
  if (!request.sessions.empty()) warn_of_absent_gpu(request.sessions.front());
  install_interrupt_handler();
  const bool operations = !request.operations.empty();
  Report report(BenchTable(request.format, operations ? operation_columns(request) : model_columns(request)));
  int status = kExitGood;
  try {
    const MachineLimits limits;
    operations ? measure_operations(request, limits, report) : measure_models(request, limits, report);
  } catch (const Interrupted&) {
    fmt::print(stderr, "spqr-bench: interrupted; rows that were measured are complete\n");
    status = terminated() != 0 ? terminated() : kExitInterrupted;
  } catch (...) {
    if (!report.empty()) report.end();
    throw;
  }
  report.end();
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  cxxopts::Options options(
      "spqr-bench",
      "Measures the speed of a model, or of single operations (--op).\n"
      "A LIST is values such as 1,2,4, and of numbers also ranges such as 1-8, 128-512+128 and\n"
      "1-8*2. An option given again adds to its list. Every combination is measured.");
  spqr::add_bench_options(options);
  return spqr::run_tool(argc, argv, options, run);
}
