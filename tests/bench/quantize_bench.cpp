// Seconds of the per-matrix solvers on a random matrix.
//   quantize_bench [ROWS COLUMNS]     default: 1536 576
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <random>
#include <string_view>
#include <vector>

#include "kernels/quantize/quantize.h"

namespace {

using spqr::Hessian;
using spqr::QuantizeOptions;
using spqr::SpqrFormat;
using spqr::SpqrParts;

constexpr int kRepetitions = 5;

struct Problem {
  std::int64_t m;
  std::int64_t n;
  std::vector<float> w;
  std::vector<float> h;
};

// Weights with a few large ones; inputs whose neighbours are correlated, each channel with a size of its own.
Problem random_problem(std::int64_t m, std::int64_t n) {
  std::mt19937 generator(1);
  std::normal_distribution<float> normal;
  Problem problem{m, n, std::vector<float>(m * n), std::vector<float>(n * n)};
  for (float& x : problem.w) x = normal(generator);
  for (std::int64_t k = 0; k < m * n; k += 199) problem.w[k] *= 8.0F;
  std::vector<float> size(n);
  for (float& x : size) x = std::exp(0.5F * normal(generator));
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j < n; ++j) {
      const auto distance = static_cast<float>(i > j ? i - j : j - i);
      problem.h[i * n + j] = size[i] * size[j] * std::pow(0.9F, distance);
    }
  }
  return problem;
}

double median_seconds(const std::function<void()>& run) {
  std::vector<double> seconds;
  for (int i = 0; i < kRepetitions; ++i) {
    const auto start = std::chrono::steady_clock::now();
    run();
    seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  std::nth_element(seconds.begin(), seconds.begin() + kRepetitions / 2, seconds.end());
  return seconds[kRepetitions / 2];
}

void report(std::string_view name, const Problem& problem, const std::function<SpqrParts()>& quantize) {
  SpqrParts parts;
  const double seconds = median_seconds([&] { parts = quantize(); });
  const double error =
      spqr::relative_error(problem.w, spqr::dequantize(parts), problem.h, problem.m, problem.n);
  fmt::print("| {:<22} | {:8.4f} | {:7.1f} | {:8.5f} | {:6.3f} % |\n", name, seconds,
             1e9 * seconds / static_cast<double>(problem.w.size()), error,
             100.0 * static_cast<double>(parts.values.size()) / static_cast<double>(problem.w.size()));
}

QuantizeOptions options(SpqrFormat format, double threshold) {
  QuantizeOptions result;
  result.format = format;
  result.outlier_threshold = threshold;
  return result;
}

void run(const Problem& problem) {
  const std::int64_t m = problem.m;
  const std::int64_t n = problem.n;
  const std::vector<float>& w = problem.w;
  const std::vector<float>& h = problem.h;
  Hessian hessian;
  const double prepare =
      median_seconds([&] { hessian = spqr::prepare_hessian(h, n, spqr::PermutationOrder::act_order, 1.0); });
  const double error = median_seconds([&] { spqr::relative_error(w, w, h, m, n); });
  fmt::print("W {} x {}: prepare_hessian {:.4f} s, relative_error {:.4f} s\n\n", m, n, prepare, error);
  fmt::print(
      "| method                 | seconds  | ns/w    | error    | outliers |\n|---|---|---|---|---|\n");
  constexpr double kNoOutliers = std::numeric_limits<double>::infinity();
  const auto spqr_row = [&](std::string_view name, const QuantizeOptions& settings) {
    report(name, problem, [&] { return spqr::quantize_spqr(w, m, n, hessian, settings); });
  };
  spqr_row("spqr 4 bits, 16 x 16", options({4, 16, 16, 3, 3}, 0.2));
  spqr_row("spqr 3 bits, 16 x 16", options({3, 16, 16, 3, 3}, 0.2));
  spqr_row("spqr 3 bits, 8 x 64", options({3, 8, 64, 3, 3}, 0.2));
  spqr_row("gptq 4 bits, whole row", options({4, SpqrFormat::kWholeRow, 16, 16, 16}, kNoOutliers));
  report("rtn 4 bits, whole row", problem, [&] {
    return spqr::quantize_rtn(w, m, n, {4, SpqrFormat::kWholeRow, 16, 16, 16});
  });
  report("rtn 4 bits, groups 32", problem, [&] { return spqr::quantize_rtn(w, m, n, {4, 32, 16, 16, 16}); });
}

// A positive number, or 0.
std::int64_t extent(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && value > 0 ? value : 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::int64_t m = argc == 3 ? extent(argv[1]) : 1536;
  const std::int64_t n = argc == 3 ? extent(argv[2]) : 576;
  if ((argc != 1 && argc != 3) || m == 0 || n == 0) {
    fmt::print(stderr, "usage: quantize_bench [ROWS COLUMNS]\n");
    return 2;
  }
  run(random_problem(m, n));
  return 0;
}
