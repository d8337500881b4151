// Perplexity over token windows, each with an empty cache.   Source: arXiv 2306.03078, section 5.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "runtime/session.h"

namespace spqr {

// After each window: how many are done, and the perplexity over them.
using PerplexityProgress = std::function<void(std::int64_t done, double perplexity)>;

// What a model predicts: row t of logits is of token first + t + 1 of the window with this index.
using PredictionVisit = std::function<void(std::size_t window, std::int64_t first, Matrix logits)>;

struct Perplexity {
  double perplexity = 0;      // exp of the mean over windows of their mean negative log-likelihood
  double standard_error = 0;  // of perplexity, from the spread of the tokens' negative log-likelihoods
  std::int64_t windows = 0;
  std::int64_t predicted_tokens = 0;
  bool interrupted = false;  // some windows are missing
};

// Predicts tokens 2 .. n of every window. `stop` ends it in the middle of a window, which then does not
// count. Windows have at least two tokens and fit the session's context. Throws std::invalid_argument for
// shorter windows and ids outside the vocabulary before any is evaluated, std::runtime_error where logits are
// no numbers. `visit` sees all predictions in order, perhaps some of a window that then does not count.
Perplexity evaluate_perplexity(Session& session, const std::vector<std::vector<std::int32_t>>& windows,
                               const PerplexityProgress& progress, const StopCheck& stop,
                               const PredictionVisit& visit = {});

}  // namespace spqr
