#include "runtime/bandwidth.h"

#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace spqr {
namespace {

constexpr std::size_t kWords = std::size_t{512} << 20U >> 3U;  // 512 MiB
constexpr int kPasses = 7;

// Sums whole words with several accumulators, so that loads and not additions are what takes time.
std::uint64_t sum(const std::uint64_t* words, std::size_t count) {
  std::uint64_t total = 0;
#pragma omp simd reduction(+ : total)
  for (std::size_t i = 0; i < count; ++i) total += words[i];
  return total;
}

}  // namespace

double read_bandwidth_gb_per_s(int threads) {
  const int team = threads > 0 ? threads : omp_get_num_procs();
  std::vector<std::uint64_t> words(kWords, 1);
  std::vector<double> rates;
  std::uint64_t total = 0;
  for (int pass = 0; pass < kPasses; ++pass) {
    const auto begin = std::chrono::steady_clock::now();
#pragma omp parallel num_threads(team) reduction(+ : total)
    {
      const auto index = static_cast<std::size_t>(omp_get_thread_num());
      const auto count = static_cast<std::size_t>(omp_get_num_threads());
      const std::size_t first = kWords * index / count;
      total += sum(words.data() + first, kWords * (index + 1) / count - first);
    }
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    rates.push_back(static_cast<double>(kWords * sizeof(std::uint64_t)) / seconds.count() / 1e9);
  }
  // The sum is used, so that no pass can be left out.
  if (total != static_cast<std::uint64_t>(kPasses) * kWords) return 0;
  std::nth_element(rates.begin(), rates.begin() + kPasses / 2, rates.end());
  return rates[kPasses / 2];
}

}  // namespace spqr
