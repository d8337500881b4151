// What a test of spqr-bench has to do, counted: bytes to read and arithmetic.
#pragma once

#include <cstdint>

#include "runtime/session.h"

namespace spqr {

// n_depth tokens are in the cache, n_prompt more are evaluated at once, and then n_gen one after the other.
struct BenchTest {
  std::int64_t n_prompt = 0;
  std::int64_t n_gen = 0;
  std::int64_t n_depth = 0;

  std::int64_t tokens() const { return n_prompt + n_gen; }  // those that are timed
  std::int64_t longest() const { return n_depth + tokens(); }
};

struct Work {
  // Weights once for each pass of up to `batch` tokens, head once for each evaluation, and of the KV cache
  // what is in it at the end of the pass.
  double bytes = 0;
  double weight_bytes = 0;  // of them
  // Additions and multiplications of linears (2 for each weight and token; of the head for tokens whose
  // logits are wanted, the last one of a prompt) and of attention (4 for each query head, value and visible
  // token).
  double flop = 0;
};

Work work_of(const Session& session, const BenchTest& test, std::int64_t batch);

}  // namespace spqr
