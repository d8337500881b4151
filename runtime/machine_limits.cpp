#include "runtime/machine_limits.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <stdexcept>

#include "kernels/cpu/kernel_tables.h"
#include "kernels/threads.h"
#include "runtime/stopwatch.h"

namespace spqr {
namespace {

constexpr std::int64_t kPieceWords = std::int64_t{256} * 1024;  // 1 MiB
constexpr std::int64_t kPieces = 512;
constexpr std::size_t kBytes = kPieces * kPieceWords * sizeof(std::uint32_t);
// Of products: a piece is about 160 microseconds, so that threads end together whenever they began.
constexpr std::int64_t kPeakRounds = std::int64_t{64} * 1024;
constexpr std::int64_t kPeakPieces = 32;  // of each thread

template <typename Body>
double seconds_of(std::int64_t count, const Body& body) {
  double seconds = 0;
  {
    const Stopwatch watch(seconds);
    parallel_for(count, body);
  }
  return seconds;
}

}  // namespace

MachineLimits::MachineLimits() : memory_(allocate_host_memory(kBytes)) {
  auto* words = static_cast<std::uint32_t*>(memory_.get());
  parallel_for(kPieces,
               [&](std::int64_t piece) { std::fill_n(words + piece * kPieceWords, kPieceWords, 1U); });
}

double MachineLimits::read_gb_per_s(int threads) const {
  set_threads(threads);
  const auto* words = static_cast<const std::uint32_t*>(memory_.get());
  const auto sum = best_kernel_tables().vectors.sum;
  std::atomic<std::uint32_t> total{0};
  const double seconds = seconds_of(
      kPieces, [&](std::int64_t piece) { total += sum(words + piece * kPieceWords, kPieceWords); });
  // The sum is used, so that the pass cannot be left out.
  if (total != static_cast<std::uint32_t>(kPieces * kPieceWords))
    throw std::runtime_error("memory that was filled with ones does not hold them: is it broken?");
  return static_cast<double>(kBytes) / seconds / 1e9;
}

double MachineLimits::peak_gflop_per_s(const BackendOptions& options, Products products) const {
  set_threads(options.threads);
  const KernelTables& kernels = kernel_tables(isa_of(options.isa));
  auto peak = kernels.strips.peak_f32;
  if (products == Products::packed && options.activations == ActivationType::automatic) {
    if (kernels.strips.peak_int16 != nullptr) peak = kernels.strips.peak_int16;
    if (kernels.bf16 != nullptr && kernels.bf16->peak != nullptr) peak = kernels.bf16->peak;
  }
  std::atomic<std::int64_t> multiply_adds{0};
  const double seconds =
      seconds_of(kPeakPieces * threads(), [&](std::int64_t) { multiply_adds += peak(kPeakRounds); });
  return 2 * static_cast<double>(multiply_adds) / seconds / 1e9;
}

MachineRates MachineLimits::measure(Backend& backend, const BackendOptions& options,
                                    Products products) const {
  if (backend.free_memory()) {
    const std::optional<double> bytes_per_second = backend.read_bandwidth();
    if (!bytes_per_second) return {};
    return {*bytes_per_second / 1e9, std::nullopt};
  }
  const double read = read_gb_per_s(options.threads);
  return {read, peak_gflop_per_s(options, products)};
}

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

namespace {

std::optional<double> median_of(const std::vector<MachineRates>& rates,
                                std::optional<double> MachineRates::*rate) {
  std::vector<double> values;
  for (const MachineRates& some : rates) {
    if (some.*rate) values.push_back(*(some.*rate));
  }
  if (values.empty()) return std::nullopt;
  return median(values);
}

}  // namespace

MachineRates median(const std::vector<MachineRates>& rates) {
  return {median_of(rates, &MachineRates::read_gb_per_s), median_of(rates, &MachineRates::peak_gflop_per_s)};
}

}  // namespace spqr
