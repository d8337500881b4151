#include "runtime/sampler.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <stdexcept>

#include "runtime/logits.h"

namespace spqr {
namespace {

void require(bool good, const char* option, double value, const char* expected) {
  if (!good) throw std::invalid_argument(fmt::format("{} is {}, expected {}", option, value, expected));
}

}  // namespace

void validate(const SamplerOptions& o) {
  // Written so that NaN fails too.
  require(o.temperature >= 0 && std::isfinite(o.temperature), "--temp", o.temperature, "0 or more");
  require(o.top_k >= -1, "--top-k", o.top_k, "0 or -1 (all) or more");
  require(o.top_p > 0 && o.top_p <= 1, "--top-p", o.top_p, "more than 0 and at most 1");
  require(o.min_p >= 0 && o.min_p <= 1, "--min-p", o.min_p, "0 to 1");
  require(o.repeat_penalty > 0 && std::isfinite(o.repeat_penalty), "--repeat-penalty", o.repeat_penalty,
          "more than 0");
  require(o.repeat_last_n >= -1, "--repeat-last-n", o.repeat_last_n, "-1 (all), 0 (none) or more");
  require(std::isfinite(o.presence_penalty), "--presence-penalty", o.presence_penalty, "a number");
  require(std::isfinite(o.frequency_penalty), "--frequency-penalty", o.frequency_penalty, "a number");
}

Sampler::Sampler(const SamplerOptions& options) : options_(options), random_(options.seed) {
  validate(options);
}

double Sampler::uniform() {
  return static_cast<double>(random_() >> 11U) * 0x1p-53;
}

void Sampler::accept(std::int32_t id) {
  if (options_.repeat_last_n == 0) return;
  recent_.push_back(id);
  if (options_.repeat_last_n > 0 && recent_.size() > static_cast<std::size_t>(options_.repeat_last_n))
    recent_.pop_front();
}

bool Sampler::penalizes() const {
  return options_.repeat_last_n != 0 &&
         (options_.repeat_penalty != 1 || options_.presence_penalty != 0 || options_.frequency_penalty != 0);
}

void Sampler::penalize() {
  std::map<std::int32_t, int> counts;
  for (const std::int32_t id : recent_) ++counts[id];
  for (const auto& [id, count] : counts) {
    if (id < 0 || static_cast<std::size_t>(id) >= candidates_.size()) continue;
    float& logit = candidates_[static_cast<std::size_t>(id)].logit;
    logit = logit > 0 ? logit / options_.repeat_penalty : logit * options_.repeat_penalty;
    logit -= static_cast<float>(count) * options_.frequency_penalty + options_.presence_penalty;
  }
}

void Sampler::ban(std::span<const std::int32_t> banned) {
  if (banned.empty()) return;
  for (TokenLogit& candidate : candidates_) {
    if (std::ranges::find(banned, candidate.id) != banned.end()) candidate.logit = -INFINITY;
  }
}

std::optional<std::int64_t> Sampler::candidates_needed(std::size_t banned) const {
  if (penalizes()) return std::nullopt;
  if (options_.temperature == 0) return 1 + static_cast<std::int64_t>(banned);
  if (options_.top_k <= 0) return std::nullopt;
  return options_.top_k + static_cast<std::int64_t>(banned);
}

std::int32_t Sampler::sample(std::span<const float> logits, std::span<const std::int32_t> banned) {
  candidates_.clear();
  float best = -INFINITY;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (std::isnan(logits[i])) best = NAN;
    best = logits[i] > best ? logits[i] : best;
    candidates_.push_back({static_cast<std::int32_t>(i), logits[i]});
  }
  require_finite(best);
  penalize();
  ban(banned);
  return choose();
}

std::int32_t Sampler::sample_largest(std::span<const TokenLogit> largest,
                                     std::span<const std::int32_t> banned) {
  require_finite(largest.front().logit);  // NaN comes first
  candidates_.assign(largest.begin(), largest.end());
  ban(banned);
  return choose();
}

std::int32_t Sampler::choose() {
  // Ties go to the smaller id, so that the order does not depend on a sort's implementation.
  const auto better = [](const TokenLogit& a, const TokenLogit& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
  };
  if (options_.temperature == 0) return std::min_element(candidates_.begin(), candidates_.end(), better)->id;

  std::size_t kept = candidates_.size();
  if (options_.top_k > 0) kept = std::min(kept, static_cast<std::size_t>(options_.top_k));
  std::partial_sort(candidates_.begin(), candidates_.begin() + static_cast<std::ptrdiff_t>(kept),
                    candidates_.end(), better);
  candidates_.resize(kept);

  // top-p and min-p look at the probabilities before temperature.
  weights_.clear();
  double total = 0;
  for (const TokenLogit& c : candidates_) {
    weights_.push_back(
        std::exp(static_cast<double>(c.logit) - static_cast<double>(candidates_.front().logit)));
    total += weights_.back();
  }
  double cumulative = 0;
  std::size_t survivors = 0;
  while (survivors < kept &&
         (survivors == 0 || (cumulative < options_.top_p * total && weights_[survivors] >= options_.min_p))) {
    cumulative += weights_[survivors++];
  }

  total = 0;
  for (std::size_t i = 0; i < survivors; ++i)
    total += weights_[i] = std::pow(weights_[i], 1.0 / options_.temperature);
  double target = uniform() * total;
  for (std::size_t i = 0; i + 1 < survivors; ++i) {
    target -= weights_[i];
    if (target < 0) return candidates_[i].id;
  }
  return candidates_[survivors - 1].id;
}

}  // namespace spqr
