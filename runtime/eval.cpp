#include "runtime/eval.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "kernels/threads.h"
#include "runtime/logits.h"
#include "runtime/task_lines.h"

namespace spqr {
namespace {

EncodedChoice encode_choice(const TaskChoice& choice, const Tokenizer& tokenizer) {
  const EncodeOptions plain{.add_special = false};
  const std::size_t end = stripped_end(choice.context);
  EncodedChoice encoded;
  if (end == 0) {
    const RoleTokens& roles = tokenizer.roles();
    const std::int32_t id = roles.bos >= 0 ? roles.bos : roles.eos;
    if (id < 0) return encoded;
    encoded.context = {id};
    encoded.continuation = tokenizer.encode(choice.context + choice.continuation, plain);
    return encoded;
  }
  encoded.context = tokenizer.encode(std::string_view(choice.context).substr(0, end), plain);
  const auto whole = tokenizer.encode(choice.context + choice.continuation, plain);
  if (whole.size() > encoded.context.size()) {
    encoded.continuation.assign(whole.begin() + static_cast<std::ptrdiff_t>(encoded.context.size()),
                                whole.end());
  }
  return encoded;
}

// A choice's token that some row of logits predicts.
struct Prediction {
  std::size_t item, choice;
  std::size_t row;  // of the wanted ones
  std::int32_t id;
};

// All items as branches: of each what its choices' inputs have in common, then the rest of each input.
class Plan {
 public:
  Plan(std::span<const EncodedItem> items, std::int64_t context) {
    for (std::size_t i = 0; i < items.size(); ++i) add(i, items[i], context);
    for (const Span& span : spans_)
      branches_.push_back({span.first, std::span(ids_).subspan(span.begin, span.tokens)});
  }

  std::span<const Branch> branches() const { return branches_; }
  std::span<const std::int64_t> wanted() const { return wanted_; }
  std::span<const Prediction> predictions() const { return predictions_; }  // by row

 private:
  // A branch whose ids are not all there yet.
  struct Span {
    std::int64_t first;
    std::size_t begin, tokens;
  };
  struct Input {
    std::vector<std::int32_t> ids;
    std::int64_t predicts = 0;  // from this row on, its rows predict the continuation
  };

  static Input input_of(std::size_t item, const EncodedChoice& choice, std::int64_t context) {
    Input input{choice.context, static_cast<std::int64_t>(choice.context.size()) - 1};
    input.ids.insert(input.ids.end(), choice.continuation.begin(), choice.continuation.end() - 1);
    const std::int64_t excess = std::max<std::int64_t>(choice.input() - context, 0);
    if (excess > input.predicts) {
      throw std::runtime_error(
          fmt::format("item {}: a continuation of {} tokens does not fit a context of {}", item,
                      choice.continuation.size(), context));
    }
    input.ids.erase(input.ids.begin(), input.ids.begin() + excess);
    input.predicts -= excess;
    return input;
  }

  static std::int64_t common(std::span<const Input> inputs) {
    auto length = static_cast<std::int64_t>(inputs.front().ids.size());
    for (const Input& input : inputs) {
      const auto [a, b] = std::ranges::mismatch(inputs.front().ids, input.ids);
      length = std::min<std::int64_t>(length, a - inputs.front().ids.begin());
    }
    return length;
  }

  void add(std::size_t item, const EncodedItem& choices, std::int64_t context) {
    std::vector<Input> inputs;
    for (const EncodedChoice& choice : choices) inputs.push_back(input_of(item, choice, context));
    const std::int64_t shared = common(inputs);
    add_rows(item, choices, inputs, 0, shared);
    for (std::size_t c = 0; c < inputs.size(); ++c) {
      const auto end = static_cast<std::int64_t>(inputs[c].ids.size());
      add_rows(item, choices, std::span(inputs).subspan(c, 1), shared, end, c);
    }
  }

  // Rows begin .. end of inputs, in which they agree, the first of which is that of choice `choice`.
  void add_rows(std::size_t item, const EncodedItem& choices, std::span<const Input> inputs,
                std::int64_t begin, std::int64_t end, std::size_t choice = 0) {
    if (begin == end) return;
    const auto token = static_cast<std::int64_t>(ids_.size());
    spans_.push_back({begin, ids_.size(), static_cast<std::size_t>(end - begin)});
    const auto& ids = inputs.front().ids;
    ids_.insert(ids_.end(), ids.begin() + begin, ids.begin() + end);
    for (std::int64_t row = begin; row < end; ++row) {
      const std::size_t before = predictions_.size();
      for (std::size_t i = 0; i < inputs.size(); ++i) {
        const std::int64_t place = row - inputs[i].predicts;
        if (place < 0) continue;
        const std::int32_t id = choices[choice + i].continuation[static_cast<std::size_t>(place)];
        predictions_.push_back({item, choice + i, wanted_.size(), id});
      }
      if (predictions_.size() > before) wanted_.push_back(token + row - begin);
    }
  }

  std::vector<std::int32_t> ids_;
  std::vector<Span> spans_;
  std::vector<Branch> branches_;
  std::vector<std::int64_t> wanted_;
  std::vector<Prediction> predictions_;
};

Accuracy share(std::int64_t right, std::int64_t of) {
  if (of == 0) return {};
  const auto count = static_cast<double>(of);
  const double p = static_cast<double>(right) / count;
  return {p, of > 1 ? std::sqrt(p * (1 - p) / (count - 1)) : 0};
}

}  // namespace

std::vector<EncodedItem> encode_task(const Task& task, const Tokenizer& tokenizer) {
  std::vector<EncodedItem> items(task.items.size());
  for (std::size_t i = 0; i < items.size(); ++i) {
    for (const TaskChoice& choice : task.items[i].choices) {
      items[i].push_back(encode_choice(choice, tokenizer));
      if (items[i].back().continuation.empty()) {
        throw std::runtime_error(fmt::format("{}: item {}: choice {} adds no token to its context",
                                             task.file.string(), i, items[i].size() - 1));
      }
    }
  }
  return items;
}

std::int64_t longest_input(std::span<const EncodedItem> items) {
  std::int64_t longest = 1;
  for (const EncodedItem& item : items) {
    for (const EncodedChoice& choice : item) longest = std::max(longest, choice.input());
  }
  return longest;
}

std::vector<std::vector<double>> choice_loglikelihoods(Session& session, std::span<const EncodedItem> items,
                                                       const EvalProgress& progress, const StopCheck& stop) {
  const Plan plan(items, session.context());
  std::vector<std::vector<double>> result;
  for (const EncodedItem& item : items) result.emplace_back(item.size(), 0.0);
  const std::span<const Prediction> predictions = plan.predictions();
  std::size_t next = 0;  // prediction
  std::vector<double> log_p;
  const auto finished = [&] { return next == predictions.size() ? items.size() : predictions[next].item; };
  const auto visit = [&](Matrix logits, std::int64_t first) {
    const std::size_t begin = next;
    const auto end_row = static_cast<std::size_t>(first + logits.rows);
    while (next < predictions.size() && predictions[next].row < end_row) ++next;
    log_p.resize(next - begin);
    parallel_for(static_cast<std::int64_t>(log_p.size()), [&](std::int64_t p) {
      const Prediction& of = predictions[begin + static_cast<std::size_t>(p)];
      const auto row = static_cast<std::int64_t>(of.row) - first;
      log_p[static_cast<std::size_t>(p)] = -negative_log_likelihood(
          {logits.data + row * logits.cols, static_cast<std::size_t>(logits.cols)}, of.id);
    });
    for (std::size_t p = 0; p < log_p.size(); ++p) {
      require_finite(log_p[p]);
      const Prediction& of = predictions[begin + p];
      result[of.item][of.choice] += log_p[p];
    }
    if (progress) progress(static_cast<std::int64_t>(finished()));
  };
  try {
    session.visit_branches(plan.branches(), plan.wanted(), visit, stop);
  } catch (const Interrupted&) {
    result.resize(finished());
  }
  return result;
}

TaskScore score_task(const Task& task, const std::vector<std::vector<double>>& loglikelihoods) {
  TaskScore score;
  std::int64_t right = 0;
  std::int64_t right_normed = 0;
  for (std::size_t i = 0; i < loglikelihoods.size(); ++i) {
    const TaskItem& item = task.items[i];
    std::vector<double> normed = loglikelihoods[i];
    for (std::size_t c = 0; c < normed.size(); ++c)
      normed[c] /= static_cast<double>(item.choices[c].characters);
    score.chosen.push_back(std::ranges::max_element(loglikelihoods[i]) - loglikelihoods[i].begin());
    score.chosen_normed.push_back(std::ranges::max_element(normed) - normed.begin());
    right += score.chosen.back() == item.gold ? 1 : 0;
    right_normed += score.chosen_normed.back() == item.gold ? 1 : 0;
  }
  score.items = static_cast<std::int64_t>(loglikelihoods.size());
  score.acc = share(right, score.items);
  score.acc_norm = share(right_normed, score.items);
  return score;
}

}  // namespace spqr
