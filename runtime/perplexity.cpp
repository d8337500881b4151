#include "runtime/perplexity.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "kernels/threads.h"
#include "runtime/logits.h"
#include "runtime/spread.h"

namespace spqr {
namespace {

// The model checks a batch when it gets there; as targets its ids are looked up before that.
void check_window(const std::vector<std::int32_t>& window, std::int64_t vocab_size) {
  if (window.size() < 2) throw std::invalid_argument("perplexity needs windows of two tokens or more");
  for (const std::int32_t id : window) {
    if (id < 0 || id >= vocab_size) {
      throw std::invalid_argument(
          fmt::format("token id {} is outside the model's vocabulary of {}", id, vocab_size));
    }
  }
}

using Predictions = std::function<void(std::int64_t first, Matrix logits)>;

// -log p of tokens 2 .. n of a window.
std::vector<double> window_losses(Session& session, const std::vector<std::int32_t>& window,
                                  const StopCheck& stop, const Predictions& see) {
  std::vector<double> losses(window.size() - 1);
  session.rewind(0);
  const auto visit = [&](Matrix logits, std::int64_t first) {
    // What the last token is followed by is not known.
    logits.rows = std::min(logits.rows, static_cast<std::int64_t>(losses.size()) - first);
    parallel_for(logits.rows, [&](std::int64_t t) {
      const auto next = static_cast<std::size_t>(first + t + 1);
      losses[next - 1] = negative_log_likelihood(
          {logits.data + t * logits.cols, static_cast<std::size_t>(logits.cols)}, window[next]);
    });
    for (std::int64_t t = 0; t < logits.rows; ++t)
      require_finite(losses[static_cast<std::size_t>(first + t)]);
    if (see && logits.rows > 0) see(first, logits);
  };
  session.visit_logits(window, visit, stop);
  return losses;
}

}  // namespace

Perplexity evaluate_perplexity(Session& session, const std::vector<std::vector<std::int32_t>>& windows,
                               const PerplexityProgress& progress, const StopCheck& stop,
                               const PredictionVisit& visit) {
  Perplexity result;
  Spread spread;
  double sum_of_means = 0;
  for (const auto& window : windows) check_window(window, session.config().vocab_size);
  for (const auto& window : windows) {
    std::vector<double> losses;
    const auto see = [&](std::int64_t first, Matrix logits) {
      visit(static_cast<std::size_t>(result.windows), first, logits);
    };
    try {
      losses = window_losses(session, window, stop, visit ? Predictions(see) : Predictions());
    } catch (const Interrupted&) {
      result.interrupted = true;
      break;
    }
    double sum = 0;
    for (const double loss : losses) {
      sum += loss;
      spread.add(loss);
    }
    sum_of_means += sum / static_cast<double>(losses.size());
    ++result.windows;
    result.perplexity = std::exp(sum_of_means / static_cast<double>(result.windows));
    if (progress) progress(result.windows, result.perplexity);
  }
  result.predicted_tokens = spread.count();
  result.standard_error = result.perplexity * spread.error_of_mean();
  return result;
}

}  // namespace spqr
