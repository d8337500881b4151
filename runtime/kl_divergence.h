// How far a model's predictions are from another one's: the Kullback-Leibler divergence KL(P || Q) of what
// the other one predicts, P, from a file of its log-probabilities, to what this one predicts, Q, token by
// token.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "runtime/log_probability_file.h"

namespace spqr {

// Tokens are taken for independent.
struct Estimate {
  double value = 0;
  double error = 0;  // standard error
};

// Of the prediction of one token.
struct TokenChange {
  double kl = 0;         // nats
  double p_change = 0;   // of the right token's probability
  bool same_top = true;  // the likeliest token is the same
  double base_loss = 0;  // -ln of the right token's probability, of P
  double loss = 0;       // of Q
};

// base_log_p: ln P (vocab_size). Not finite where the logits are not.
TokenChange compare_predictions(std::span<const double> base_log_p, std::span<const float> logits,
                                std::int32_t id);

struct KlDivergence {
  Estimate mean, median, kl_90, kl_99, kl_99_9, maximum;
  Estimate mean_p_change, rms_p_change;
  Estimate same_top;              // share
  Estimate base_perplexity;       // of P
  Estimate log_perplexity_ratio;  // ln of Q's perplexity over P's
  std::int64_t tokens = 0;
};

KlDivergence summarize(std::span<const TokenChange> changes);

// The value below which the share `quantile` of `sorted` is, between two of them on the line that joins them.
// Its error is what so many ranks make as the number of values below it varies by, at least one.
Estimate quantile_of(std::span<const double> sorted, double quantile);

// Collects what evaluate_perplexity() shows of windows that `base` begins with.
class KlComparison {
 public:
  // `base` lives as long.
  explicit KlComparison(const LogProbabilityFile& base);
  // Row t of logits predicts token first + t + 1 of the window.
  void add(std::size_t window, std::int64_t first, Matrix logits);
  // Over the first `windows`, all of which were added.
  KlDivergence result(std::int64_t windows) const;

 private:
  const LogProbabilityFile& base_;
  std::vector<TokenChange> changes_;
};

}  // namespace spqr
