#include "runtime/kl_divergence.h"

#include <algorithm>
#include <cmath>

#include "kernels/threads.h"
#include "runtime/logits.h"
#include "runtime/spread.h"

namespace spqr {
namespace {

Estimate mean_of(const Spread& spread) {
  return {spread.mean(), spread.error_of_mean()};
}

}  // namespace

TokenChange compare_predictions(std::span<const double> base_log_p, std::span<const float> logits,
                                std::int32_t id) {
  const auto top = std::ranges::max_element(logits);
  const auto base_top = std::ranges::max_element(base_log_p);
  const double shift = log_sum_exp(logits);
  const auto right = static_cast<std::size_t>(id);
  TokenChange change;
  change.base_loss = -base_log_p[right];
  change.loss = shift - static_cast<double>(logits[right]);
  change.p_change = std::exp(-change.loss) - std::exp(-change.base_loss);
  change.same_top = top - logits.begin() == base_top - base_log_p.begin();
  double kl = 0;
  for (std::size_t i = 0; i < logits.size(); ++i)
    kl += std::exp(base_log_p[i]) * (base_log_p[i] - (static_cast<double>(logits[i]) - shift));
  // Never negative but for rounding.
  change.kl = kl < 0 ? 0 : kl;
  return change;
}

Estimate quantile_of(std::span<const double> sorted, double quantile) {
  const auto last = static_cast<double>(sorted.size() - 1);
  const auto at = [&](double rank) {
    rank = std::clamp(rank, 0.0, last);
    const auto below = static_cast<std::size_t>(rank);
    const std::size_t above = std::min(below + 1, sorted.size() - 1);
    return std::lerp(sorted[below], sorted[above], rank - static_cast<double>(below));
  };
  const double rank = quantile * last;
  const double ranks =
      std::max(1.0, std::sqrt(static_cast<double>(sorted.size()) * quantile * (1 - quantile)));
  const double distance = std::min(rank + ranks, last) - std::max(rank - ranks, 0.0);
  const double slope = distance > 0 ? (at(rank + ranks) - at(rank - ranks)) / distance : 0;
  return {at(rank), slope * ranks};
}

KlDivergence summarize(std::span<const TokenChange> changes) {
  KlDivergence result;
  result.tokens = static_cast<std::int64_t>(changes.size());
  if (changes.empty()) return result;
  Spread kl, p_change, squared_change, same_top, base_loss, loss_change;
  std::vector<double> sorted;
  for (const TokenChange& change : changes) {
    kl.add(change.kl);
    p_change.add(change.p_change);
    squared_change.add(change.p_change * change.p_change);
    same_top.add(change.same_top ? 1 : 0);
    base_loss.add(change.base_loss);
    loss_change.add(change.loss - change.base_loss);
    sorted.push_back(change.kl);
  }
  std::ranges::sort(sorted);
  result.mean = mean_of(kl);
  result.median = quantile_of(sorted, 0.5);
  result.kl_90 = quantile_of(sorted, 0.9);
  result.kl_99 = quantile_of(sorted, 0.99);
  result.kl_99_9 = quantile_of(sorted, 0.999);
  result.maximum = quantile_of(sorted, 1);
  result.mean_p_change = mean_of(p_change);
  const double rms = std::sqrt(squared_change.mean());
  result.rms_p_change = {rms, rms > 0 ? squared_change.error_of_mean() / (2 * rms) : 0};
  result.same_top = mean_of(same_top);
  const double base_perplexity = std::exp(base_loss.mean());
  result.base_perplexity = {base_perplexity, base_perplexity * base_loss.error_of_mean()};
  result.log_perplexity_ratio = mean_of(loss_change);
  return result;
}

KlComparison::KlComparison(const LogProbabilityFile& base) : base_(base) {}

void KlComparison::add(std::size_t window, std::int64_t first, Matrix logits) {
  const auto rows_per_window = static_cast<std::size_t>(base_.window() - 1);
  if (changes_.size() < (window + 1) * rows_per_window) changes_.resize((window + 1) * rows_per_window);
  TokenChange* const changes = changes_.data() + window * rows_per_window + first;
  parallel(logits.rows, [&](Indices& mine) {
    std::vector<double> base_log_p(static_cast<std::size_t>(logits.cols));
    while (mine.next()) {
      const std::int64_t t = mine.index();
      base_.read(window, first + t, base_log_p);
      changes[t] = compare_predictions(base_log_p,
                                       {logits.data + t * logits.cols, static_cast<std::size_t>(logits.cols)},
                                       base_.windows()[window][static_cast<std::size_t>(first + t + 1)]);
    }
  });
}

KlDivergence KlComparison::result(std::int64_t windows) const {
  return summarize(std::span(changes_).first(static_cast<std::size_t>(windows * (base_.window() - 1))));
}

}  // namespace spqr
