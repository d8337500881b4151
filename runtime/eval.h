// Multiple-choice tasks by the likelihood of their choices, as the LM Evaluation Harness ranks them.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "runtime/eval_tasks.h"
#include "runtime/session.h"

namespace spqr {

struct EncodedChoice {
  std::vector<std::int32_t> context;
  std::vector<std::int32_t> continuation;  // what is scored; at least one token

  // Tokens that pass through the model: the last one predicts nothing that is asked for.
  std::int64_t input() const { return static_cast<std::int64_t>(context.size() + continuation.size()) - 1; }
};

using EncodedItem = std::vector<EncodedChoice>;

// Context and continuation are encoded together and split at the length of the encoded context, whose
// trailing white space goes to the continuation; no special tokens. In place of an empty context stands the
// token that begins a text, or ends one. Throws std::runtime_error where a choice adds no token.
std::vector<EncodedItem> encode_task(const Task& task, const Tokenizer& tokenizer);

// Tokens that the longest input has.
std::int64_t longest_input(std::span<const EncodedItem> items);

using EvalProgress = std::function<void(std::int64_t items)>;

// ln of the probability of every choice of every item; of those that were finished where `stop` ended it.
// What the choices of an item have in common passes through the model once, and items share batches. Inputs
// that are longer than the session's context lose tokens at their beginning. Throws std::runtime_error where
// a continuation alone is longer, and where logits are no numbers.
std::vector<std::vector<double>> choice_loglikelihoods(Session& session, std::span<const EncodedItem> items,
                                                       const EvalProgress& progress, const StopCheck& stop);

// A share of items and its standard error.
struct Accuracy {
  double value = 0;
  double error = 0;
};

struct TaskScore {
  std::int64_t items = 0;
  Accuracy acc;                             // by likelihood
  Accuracy acc_norm;                        // by likelihood per character
  std::vector<std::int64_t> chosen;         // by likelihood; of equal ones the first
  std::vector<std::int64_t> chosen_normed;  // per character
};

// Of the first loglikelihoods.size() items.
TaskScore score_task(const Task& task, const std::vector<std::vector<double>>& loglikelihoods);

}  // namespace spqr
