#include "runtime/bench.h"

#include <fmt/format.h>

#include <cmath>
#include <random>
#include <stdexcept>

#include "runtime/stopwatch.h"

namespace spqr {
namespace {

std::vector<std::int32_t> some_ids(std::int64_t count, std::int64_t vocab_size) {
  std::mt19937 random(1);
  std::vector<std::int32_t> ids(static_cast<std::size_t>(count));
  for (std::int32_t& id : ids)
    id = static_cast<std::int32_t>(random() % static_cast<std::uint64_t>(vocab_size));
  return ids;
}

SessionOptions with_profilers(SessionOptions options, std::vector<ProfileBackend*>& profilers) {
  options.wrap_backend = [&profilers](std::unique_ptr<Backend> inner) {
    auto outer = std::make_unique<ProfileBackend>(std::move(inner));
    profilers.push_back(outer.get());
    return outer;
  };
  return options;
}

}  // namespace

double BenchResult::outside_products() const {
  const auto products = profile.find(kProfiledLinears);
  if (products == profile.end() || profile_seconds <= 0) return 0;
  return 1 - products->second / profile_seconds;
}

Bench::Bench(SessionOptions options)
    : options_(std::move(options)),
      session_(with_profilers(options_, profilers_)),
      ids_(some_ids(session_.context(), session_.config().vocab_size)) {}

void Bench::require_room(const BenchTest& test) const {
  if (test.longest() > session_.context()) {
    throw std::runtime_error(fmt::format("a test of {} tokens does not fit the context of {}", test.longest(),
                                         session_.context()));
  }
}

void Bench::fill(std::int64_t depth, const StopCheck& stop) {
  const std::span<const std::int32_t> ids(ids_);
  const auto length = static_cast<std::size_t>(session_.length());
  if (session_.length() < depth)
    session_.forward(ids.subspan(length, static_cast<std::size_t>(depth) - length), stop);
}

double Bench::run_once(const BenchTest& test, const StopCheck& stop) {
  const std::span<const std::int32_t> ids(ids_);
  const auto prompt =
      ids.subspan(static_cast<std::size_t>(test.n_depth), static_cast<std::size_t>(test.n_prompt));
  double seconds = 0;
  {
    const Stopwatch watch(seconds);
    if (!prompt.empty()) session_.forward(prompt, stop);
    for (std::int64_t at = session_.length(); at < test.longest(); ++at)
      session_.forward(ids.subspan(static_cast<std::size_t>(at), 1), stop);
  }
  return seconds;
}

BenchResult Bench::run(const BenchTest& test, std::int64_t repetitions, const MachineLimits& limits,
                       const StopCheck& stop) {
  require_room(test);
  fill(test.n_depth, stop);
  const BackendOptions backend{options_.threads, options_.activations, options_.isa};
  BenchResult result;
  std::vector<MachineRates> rates;
  for (std::int64_t run = -1; run < repetitions; ++run) {
    session_.rewind(test.n_depth);
    const double seconds = run_once(test, stop);
    if (run < 0) continue;
    result.seconds.push_back(seconds);
    rates.push_back(limits.measure(*profilers_.back(), backend, Products::packed));
  }
  result.limits = median(rates);
  result.work = work_of(session_, test, options_.batch);
  session_.rewind(test.n_depth);
  for (ProfileBackend* profiler : profilers_) profiler->start();
  result.profile_seconds = run_once(test, stop);
  for (ProfileBackend* profiler : profilers_) {
    for (const auto& [operation, seconds] : profiler->stop()) result.profile[operation] += seconds;
  }
  return result;
}

double mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return values.empty() ? 0 : sum / static_cast<double>(values.size());
}

double standard_deviation(const std::vector<double>& values) {
  if (values.size() < 2) return 0;
  const double average = mean(values);
  double squares = 0;
  for (const double value : values) squares += (value - average) * (value - average);
  return std::sqrt(squares / static_cast<double>(values.size() - 1));
}

}  // namespace spqr
