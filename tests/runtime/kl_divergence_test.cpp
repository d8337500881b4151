// KL divergence from a file of log-probabilities, against formulas of its own in double precision.
#include "runtime/kl_divergence.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <stdexcept>

#include "runtime/perplexity.h"
#include "tests/models/files.h"
#include "tests/runtime/small_models.h"

namespace spqr {
namespace {

std::vector<double> log_softmax(std::span<const float> logits) {
  long double total = 0;
  for (const float logit : logits) total += std::exp(static_cast<long double>(logit));
  std::vector<double> log_p;
  for (const float logit : logits)
    log_p.push_back(static_cast<double>(static_cast<long double>(logit) - std::log(total)));
  return log_p;
}

// Log-probabilities of all predicted tokens of all windows, straight from the session.
std::vector<std::vector<double>> predictions(Session& session, const Windows& windows) {
  std::vector<std::vector<double>> all;
  for (const auto& window : windows) {
    session.rewind(0);
    session.visit_logits(window, [&](Matrix logits, std::int64_t first) {
      for (std::int64_t t = 0; t < logits.rows; ++t) {
        if (first + t + 1 == static_cast<std::int64_t>(window.size())) continue;
        all.push_back(log_softmax({logits.data + t * logits.cols, static_cast<std::size_t>(logits.cols)}));
      }
    });
  }
  return all;
}

void write_base(Session& session, const Windows& windows, const std::filesystem::path& path) {
  replace_file(path, [&](OutputFile& out) {
    LogProbabilityWriter writer(out, session.config().vocab_size, windows);
    evaluate_perplexity(session, windows, {}, {}, [&](std::size_t window, std::int64_t first, Matrix logits) {
      writer.write(window, first, logits);
    });
  });
}

struct Compared {
  Perplexity perplexity;
  KlDivergence kl;
};

Compared compare(Session& session, const LogProbabilityFile& base) {
  KlComparison comparison(base);
  Compared result;
  result.perplexity = evaluate_perplexity(
      session, base.windows(), {}, {},
      [&](std::size_t window, std::int64_t first, Matrix logits) { comparison.add(window, first, logits); });
  result.kl = comparison.result(result.perplexity.windows);
  return result;
}

// Rounded to four bits of mantissa.
float rounded(float value) {
  int exponent = 0;
  return std::ldexp(std::nearbyint(std::ldexp(std::frexp(value, &exponent), 4)), exponent - 4);
}

// Two models of 260 thousand weights: as it was trained, and rounded.
struct Models {
  TemporaryDirectory directory;
  std::filesystem::path exact = directory.path() / "exact.spqr";
  std::filesystem::path rough = directory.path() / "rough.spqr";
  Windows windows;

  Models() {
    write_stories_model(exact);
    write_dense_model("llama2c/stories260K.bin", "", DType::f32, rough, rounded);
    for (std::int32_t w = 0; w < 3; ++w) {
      windows.emplace_back();
      for (std::int32_t t = 0; t < 40; ++t) windows.back().push_back(1 + (t * t * 7 + 13 * w + t) % 500);
    }
  }
};

}  // namespace

TEST_CASE("a model's divergence from itself is what 16 bits leave of it, and the file says what it is of") {
  const Models models;
  const auto path = models.directory.path() / "base.bin";
  Session session({.model = models.exact, .batch = 16, .logits_tokens = 7});
  write_base(session, models.windows, path);
  CHECK(std::filesystem::file_size(path) == LogProbabilityWriter::bytes(512, models.windows));
  const LogProbabilityFile base(path);
  CHECK(base.vocab_size() == 512);
  CHECK(base.window() == 40);
  CHECK(base.windows() == models.windows);
  base.require(512, models.windows);
  base.require(512, {models.windows[0]});

  const auto [perplexity, kl] = compare(session, base);
  CHECK(kl.tokens == 3 * 39);
  CHECK(kl.mean.value >= 0);
  CHECK(kl.mean.value < 1e-6);
  CHECK(kl.maximum.value < 1e-5);
  CHECK(kl.rms_p_change.value < 1e-3);
  CHECK(kl.base_perplexity.value == doctest::Approx(perplexity.perplexity).epsilon(1e-4));
  CHECK(kl.base_perplexity.error == doctest::Approx(perplexity.standard_error).epsilon(1e-3));
  CHECK(std::abs(kl.log_perplexity_ratio.value) < 1e-4);

  // Each stored value is within half a step of the model's.
  const auto expected = predictions(session, models.windows);
  std::vector<double> found(512);
  for (std::size_t t = 0; t < 39; ++t) {
    base.read(1, static_cast<std::int64_t>(t), found);
    double sum = 0;
    for (std::size_t i = 0; i < found.size(); ++i) {
      CHECK(std::abs(found[i] - expected[39 + t][i]) < 64.0 / 65535);
      sum += std::exp(found[i]);
    }
    CHECK(sum == doctest::Approx(1).epsilon(1e-12));
  }
}

TEST_CASE("another model's divergence is that of both models' logits") {
  const Models models;
  const auto path = models.directory.path() / "base.bin";
  Session exact({.model = models.exact, .logits_tokens = 16});
  Session rough({.model = models.rough, .logits_tokens = 16});
  write_base(exact, models.windows, path);
  const LogProbabilityFile base(path);
  const KlDivergence found = compare(rough, base).kl;

  const auto p = predictions(exact, models.windows);
  const auto q = predictions(rough, models.windows);
  const auto n = static_cast<double>(p.size());
  double mean = 0, squares = 0, change = 0, change_squares = 0, same = 0, ratio = 0;
  std::vector<double> all;
  for (std::size_t t = 0; t < p.size(); ++t) {
    double kl = 0;
    for (std::size_t i = 0; i < p[t].size(); ++i) kl += std::exp(p[t][i]) * (p[t][i] - q[t][i]);
    all.push_back(kl);
    mean += kl / n;
    const auto right = static_cast<std::size_t>(models.windows[t / 39][t % 39 + 1]);
    const double delta = std::exp(q[t][right]) - std::exp(p[t][right]);
    change += delta / n;
    change_squares += delta * delta / n;
    ratio += (p[t][right] - q[t][right]) / n;
    same += std::ranges::max_element(p[t]) - p[t].begin() == std::ranges::max_element(q[t]) - q[t].begin();
  }
  for (const double kl : all) squares += (kl - mean) * (kl - mean);
  std::ranges::sort(all);
  CHECK(mean > 1e-5);  // there is something to measure
  CHECK(found.mean.value == doctest::Approx(mean).epsilon(0.01));
  CHECK(found.mean.error == doctest::Approx(std::sqrt(squares / (n - 1) / n)).epsilon(0.01));
  CHECK(found.median.value == doctest::Approx(all[all.size() / 2]).epsilon(0.02));
  CHECK(found.maximum.value == doctest::Approx(all.back()).epsilon(0.01));
  CHECK(found.mean_p_change.value == doctest::Approx(change).epsilon(0.01));
  CHECK(found.rms_p_change.value == doctest::Approx(std::sqrt(change_squares)).epsilon(0.01));
  CHECK(found.log_perplexity_ratio.value == doctest::Approx(ratio).epsilon(0.02));
  CHECK(found.same_top.value == doctest::Approx(same / n));
}

TEST_CASE("one prediction by hand") {
  const std::vector<double> base{std::log(0.5), std::log(0.25), std::log(0.25)};
  const std::vector<float> logits{std::log(0.25F), std::log(0.5F), std::log(0.25F)};
  const TokenChange change = compare_predictions(base, logits, 1);
  CHECK(change.kl == doctest::Approx(0.25 * std::log(2)));
  CHECK(change.p_change == doctest::Approx(0.25));
  CHECK_FALSE(change.same_top);
  CHECK(change.base_loss == doctest::Approx(std::log(4)));
  CHECK(change.loss == doctest::Approx(std::log(2)));
}

TEST_CASE("quantiles and their errors") {
  std::vector<double> sorted;
  for (int i = 0; i <= 100; ++i) sorted.push_back(i);
  CHECK(quantile_of(sorted, 0.5).value == 50);
  // The number of values below the median has the standard deviation sqrt(n / 4), a rank is 1.
  CHECK(quantile_of(sorted, 0.5).error == doctest::Approx(std::sqrt(101) / 2));
  CHECK(quantile_of(sorted, 0.995).value == doctest::Approx(99.5));
  CHECK(quantile_of(sorted, 1).value == 100);
  CHECK(quantile_of(sorted, 1).error == doctest::Approx(1));
  const std::vector<double> one{3};
  CHECK(quantile_of(one, 0.9).value == 3);
  CHECK(quantile_of(one, 0.9).error == 0);
  CHECK(summarize({}).tokens == 0);
}

TEST_CASE("logits of every kind go through 16 bits") {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "base.bin";
  const float infinity = std::numeric_limits<float>::infinity();
  std::vector<float> rows{0, 0, 0, 0, -1000, 0, 1000, 500, -infinity, 1, 2, 3};
  const Windows windows{{0, 1, 2, 3}};
  replace_file(path, [&](OutputFile& out) {
    LogProbabilityWriter(out, 4, windows).write(0, 0, {rows.data(), 3, 4});
  });
  const LogProbabilityFile base(path);
  std::vector<double> found(4);
  base.read(0, 0, found);
  for (const double value : found) CHECK(value == doctest::Approx(-std::log(4)));
  base.read(0, 1, found);
  CHECK(found[2] == doctest::Approx(0));
  CHECK(found[0] == doctest::Approx(-64));
  base.read(0, 2, found);
  const auto expected = log_softmax(std::vector<float>{1, 2, 3});
  for (std::size_t i = 0; i < 3; ++i) CHECK(std::abs(found[i + 1] - expected[i]) < 1e-3);
  CHECK(std::exp(found[0]) < 1e-25);
}

TEST_CASE("files that are not whole, not ours, or of something else are refused with a sentence") {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "base.bin";
  std::vector<float> rows(6 * 4, 1.0F);
  const Windows windows{{0, 1, 2, 3}, {3, 2, 1, 0}};
  replace_file(path, [&](OutputFile& out) {
    LogProbabilityWriter writer(out, 4, windows);
    writer.write(0, 0, {rows.data(), 3, 4});
    writer.write(1, 0, {rows.data(), 3, 4});
  });
  const std::string good = read_bytes(path);
  const auto refused = [&](const std::string& bytes) {
    return message_of([&] { LogProbabilityFile(directory.write("bad.bin", bytes)); });
  };
  CHECK(refused(good) == "no error");
  for (const std::size_t size : {std::size_t{0}, std::size_t{7}, std::size_t{23}})
    CHECK(contains(refused(good.substr(0, size)), "is no file of log-probabilities"));
  for (const std::size_t size : {std::size_t{24}, std::size_t{40}, good.size() - 1})
    CHECK(contains(refused(good.substr(0, size)), "2 windows of 4 tokens out of 4 take"));
  CHECK(contains(refused(good + "x"), "bytes, but"));
  const auto with = [&](std::size_t at, std::uint32_t value) {
    std::string bytes = good;
    bytes.replace(at, 4, bytes_of(value));
    return bytes;
  };
  CHECK(contains(refused(with(0, 0)), "is no file of log-probabilities"));
  CHECK(contains(refused(with(8, 2)), "has version 2, expected 1"));
  CHECK(contains(refused(with(12, 0)), "is damaged"));
  CHECK(contains(refused(with(12, 0xFFFFFFFFU)), "is damaged"));
  CHECK(contains(refused(with(16, 1)), "is damaged"));
  CHECK(contains(refused(with(20, 0xFFFFFFFFU)), "bytes, but"));
  CHECK(contains(refused(with(24, 4)), "token id 4 is outside its vocabulary of 4"));
  const LogProbabilityFile damaged(directory.write("bad.bin", with(24 + 32, 0x7FC00000U)));
  std::vector<double> log_p(4);
  CHECK(contains(message_of([&] { damaged.read(0, 0, log_p); }), "is damaged"));

  const LogProbabilityFile base(path);
  CHECK(
      contains(message_of([&] { base.require(5, windows); }), "is of a model with 4 tokens, this one has 5"));
  CHECK(contains(message_of([&] { base.require(4, {{0, 1, 2, 2}}); }), "window 1 has other tokens"));
  CHECK(contains(message_of([&] { base.require(4, {{0, 1}}); }), "has windows of 4 tokens, expected 2"));
  CHECK(contains(message_of([&] {
                   base.require(4, {windows[0], windows[1], windows[0]});
                 }),
                 "has 2 windows"));
}

}  // namespace spqr
