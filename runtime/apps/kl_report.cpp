#include "runtime/apps/kl_report.h"

#include <fmt/core.h>

#include "runtime/apps/command_line.h"

namespace spqr {
namespace {

struct Row {
  const char* member;
  const char* label;
  Estimate KlDivergence::*estimate;
};

constexpr Row kDivergence[] = {
    {"mean_kl", "mean", &KlDivergence::mean},      {"median_kl", "median", &KlDivergence::median},
    {"kl_90", "90 %", &KlDivergence::kl_90},       {"kl_99", "99 %", &KlDivergence::kl_99},
    {"kl_99_9", "99.9 %", &KlDivergence::kl_99_9}, {"max_kl", "maximum", &KlDivergence::maximum}};
constexpr Row kShares[] = {
    {"mean_p_change", "p of the right token, mean change", &KlDivergence::mean_p_change},
    {"rms_p_change", "p of the right token, RMS change", &KlDivergence::rms_p_change},
    {"same_top", "the likeliest token is the same", &KlDivergence::same_top}};
constexpr Row kPerplexity[] = {
    {"base_perplexity", "perplexity of the base", &KlDivergence::base_perplexity},
    {"log_perplexity_ratio", "ln of the perplexities' ratio", &KlDivergence::log_perplexity_ratio}};

}  // namespace

void print_report(const KlDivergence& result) {
  std::string text;
  for (const Row& row : kPerplexity) {
    const Estimate& of = result.*row.estimate;
    text += fmt::format("{:<34} {:10.5f} +- {:.5f}\n", row.label, of.value, of.error);
  }
  text += fmt::format("KL divergence from the base, nats, {} tokens\n", result.tokens);
  for (const Row& row : kDivergence) {
    const Estimate& of = result.*row.estimate;
    text += fmt::format("  {:<32} {:10.6f} +- {:.6f}\n", row.label, of.value, of.error);
  }
  for (const Row& row : kShares) {
    const Estimate& of = result.*row.estimate;
    text += fmt::format("{:<34} {:8.3f} % +- {:.3f} %\n", row.label, 100 * of.value, 100 * of.error);
  }
  print(text);
}

nlohmann::json report_members(const KlDivergence& result) {
  nlohmann::json members;
  for (const std::span<const Row> rows : {std::span<const Row>(kPerplexity),
                                          std::span<const Row>(kDivergence), std::span<const Row>(kShares)}) {
    for (const Row& row : rows) {
      const Estimate& of = result.*row.estimate;
      members[row.member] = of.value;
      members[fmt::format("{}_error", row.member)] = of.error;
    }
  }
  return members;
}

}  // namespace spqr
