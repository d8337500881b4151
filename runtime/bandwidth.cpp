#include "runtime/bandwidth.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/cpu/kernel_tables.h"
#include "kernels/threads.h"

namespace spqr {
namespace {

constexpr std::int64_t kPieceWords = 256 * 1024;  // 1 MiB
constexpr std::int64_t kPieces = 512;
constexpr int kPasses = 7;

}  // namespace

double read_bandwidth_gb_per_s(int threads) {
  set_threads(threads);
  std::vector<std::uint32_t> words(static_cast<std::size_t>(kPieces * kPieceWords));
  parallel_for(kPieces, [&](std::int64_t piece) {
    std::fill_n(words.begin() + piece * kPieceWords, kPieceWords, 1U);
  });
  const auto sum = best_kernel_tables().vectors.sum;
  std::vector<double> rates;
  std::atomic<std::uint32_t> total{0};
  for (int pass = 0; pass < kPasses; ++pass) {
    const auto begin = std::chrono::steady_clock::now();
    parallel_for(kPieces,
                 [&](std::int64_t piece) { total += sum(words.data() + piece * kPieceWords, kPieceWords); });
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    rates.push_back(static_cast<double>(words.size() * sizeof(std::uint32_t)) / seconds.count() / 1e9);
  }
  // The sum is used, so that no pass can be left out.
  if (total != static_cast<std::uint32_t>(kPasses * kPieces * kPieceWords)) return 0;
  std::nth_element(rates.begin(), rates.begin() + kPasses / 2, rates.end());
  return rates[kPasses / 2];
}

}  // namespace spqr
