// Speed of prompts and of decoding, repeated, beside what the machine can do in the same minute.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/bench_work.h"
#include "runtime/machine_limits.h"
#include "runtime/profile_backend.h"
#include "runtime/session.h"

namespace spqr {

struct BenchResult {
  std::vector<double> seconds;  // of each repetition
  Work work;                    // of one
  MachineRates limits;          // medians of what was measured after each repetition
  Profile profile;              // of one more run
  double profile_seconds = 0;   // what that run took, all in all

  // Of the time of that run what was not in matrix products.
  double outside_products() const;
};

// Sessions of one set of options, in which tests are run.
class Bench {
 public:
  // Throws what Session throws.
  explicit Bench(SessionOptions options);

  const Session& session() const { return session_; }
  const SessionOptions& options() const { return options_; }

  // Throws std::runtime_error where the test does not fit the context.
  void require_room(const BenchTest& test) const;
  // Tokens are random but always the same, each position has its own. A warm-up run comes first and is not
  // counted. Throws as require_room() does, and Interrupted where `stop` says so.
  BenchResult run(const BenchTest& test, std::int64_t repetitions, const MachineLimits& limits,
                  const StopCheck& stop);

 private:
  void fill(std::int64_t depth, const StopCheck& stop);
  // Seconds of the test, the sequence being as long as its depth.
  double run_once(const BenchTest& test, const StopCheck& stop);

  SessionOptions options_;
  std::vector<ProfileBackend*> profilers_;  // between the session's model and its backends
  Session session_;
  std::vector<std::int32_t> ids_;  // of all positions
};

double mean(const std::vector<double>& values);
// Of a sample (n - 1); 0 for fewer than two values.
double standard_deviation(const std::vector<double>& values);

}  // namespace spqr
