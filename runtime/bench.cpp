#include "runtime/bench.h"

#include <cmath>
#include <random>

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

}  // namespace

BenchRow run_bench(Session& session, std::int64_t n_prompt, std::int64_t n_gen, std::int64_t repetitions,
                   const StopCheck& stop) {
  BenchRow row{n_prompt, n_gen, {}, 0};
  const auto ids = some_ids(row.tokens(), session.config().vocab_size);
  for (std::int64_t run = -1; run < repetitions; ++run) {
    session.rewind(0);
    double seconds = 0;
    {
      const Stopwatch watch(seconds);
      if (n_prompt > 0) {
        session.forward(ids, stop);
      } else {
        for (const std::int32_t& id : ids) session.forward({&id, 1}, stop);
      }
    }
    if (run >= 0) row.seconds.push_back(seconds);
  }
  const double cache =
      static_cast<double>(session.plan().needs.cache_per_token) * static_cast<double>(row.tokens() + 1) / 2;
  row.bytes_per_token = static_cast<double>(session.bytes_per_token()) + cache;
  return row;
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
