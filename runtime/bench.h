// Speed of prompts and of decoding, repeated.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/session.h"

namespace spqr {

// One test: n_prompt tokens evaluated at once (n_gen 0), or n_gen tokens one after the other (n_prompt 0).
struct BenchRow {
  std::int64_t n_prompt = 0;
  std::int64_t n_gen = 0;
  std::vector<double> seconds;  // of each repetition
  double bytes_per_token = 0;   // weights and KV cache read for one token, the mean over the tokens
  std::int64_t tokens() const { return n_prompt + n_gen; }
};

// Tokens are random but always the same. A warm-up run comes first and is not counted. Throws
// Interrupted where `stop` says so.
BenchRow run_bench(Session& session, std::int64_t n_prompt, std::int64_t n_gen, std::int64_t repetitions,
                   const StopCheck& stop);

double mean(const std::vector<double>& values);
// Of a sample (n - 1); 0 for fewer than two values.
double standard_deviation(const std::vector<double>& values);

}  // namespace spqr
