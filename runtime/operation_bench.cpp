#include "runtime/operation_bench.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <random>
#include <stdexcept>

#include "kernels/threads.h"
#include "runtime/memory_plan.h"
#include "runtime/stopwatch.h"
#include "runtime/timed_operation.h"

namespace spqr {
namespace {

constexpr std::array<std::string_view, 5> kNames = {"spqr_matvec", "spqr_matmul", "dense_matvec",
                                                    "dense_matmul", "attention"};
constexpr double kRepetitionSeconds = 0.05;  // at least, where a call takes less

// The first, the last and two between, or all.
std::vector<std::int64_t> spread_tokens(std::int64_t tokens) {
  constexpr std::int64_t kMost = 4;
  const std::int64_t count = std::min(tokens, kMost);
  std::vector<std::int64_t> spread;
  for (std::int64_t i = 0; i < count; ++i) spread.push_back(count == 1 ? 0 : i * (tokens - 1) / (count - 1));
  return spread;
}

// NaN where a value is.
double relative_error(const std::vector<float>& found, const std::vector<float>& expected) {
  double error = 0;
  double size = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    const double difference = static_cast<double>(found[i]) - static_cast<double>(expected[i]);
    error += difference * difference;
    size += static_cast<double>(expected[i]) * static_cast<double>(expected[i]);
  }
  return std::sqrt(error / size);
}

// f32 sums of some thousand products, relative to the whole; rounding of activations to 16 bits or bf16; and
// of attention, which reads the same rounded rows as the reference, what its arithmetic may round them to.
double tolerance_of(const OperationCase& what, ActivationType activations) {
  constexpr double kF32 = 1e-5;
  constexpr double kSixteenBits = 0x1p-8;
  constexpr double kF16Cache = 1e-3;
  if (what.operation != Operation::attention) return activations == ActivationType::f32 ? kF32 : kSixteenBits;
  const auto either = [&](CacheType type) {
    return what.cache_types.k == type || what.cache_types.v == type;
  };
  return either(CacheType::q8_0) ? kSixteenBits : either(CacheType::f16) ? kF16Cache : kF32;
}

// Calls with one copy after the other.
class Caller {
 public:
  Caller(TimedOperation& operation, Backend& backend, const StopCheck& stop)
      : operation_(operation), backend_(backend), stop_(stop) {}

  // Seconds of one call, the mean of so many.
  double time(std::int64_t calls) {
    backend_.synchronize();
    double seconds = 0;
    {
      const Stopwatch watch(seconds);
      for (std::int64_t i = 0; i < calls; ++i) call();
      backend_.synchronize();
    }
    return seconds / static_cast<double>(calls);
  }

  // Calls that take long enough to be timed, warmed up. Many calls are queued faster than one is waited for.
  std::int64_t enough() {
    constexpr std::int64_t kMostTimes = 10;
    for (std::int64_t calls = 1;;) {
      const double seconds = time(calls) * static_cast<double>(calls);
      if (seconds >= kRepetitionSeconds) return calls;
      const double times = 1.2 * kRepetitionSeconds / std::max(seconds, 1e-9);
      calls *= std::clamp<std::int64_t>(std::llround(times), 2, kMostTimes);
    }
  }

 private:
  void call() {
    if (stop_ && stop_()) throw Interrupted();
    operation_.run(next_++ % operation_.copies());
  }

  TimedOperation& operation_;
  Backend& backend_;
  const StopCheck& stop_;
  std::int64_t next_ = 0;
};

}  // namespace

std::string_view name_of(Operation operation) {
  return kNames[static_cast<std::size_t>(operation)];
}

std::optional<Operation> operation_of(std::string_view name) {
  const auto found = std::ranges::find(kNames, name);
  if (found == kNames.end()) return std::nullopt;
  return static_cast<Operation>(found - kNames.begin());
}

std::span<const std::string_view> operation_names() {
  return kNames;
}

bool is_packed(Operation operation) {
  return operation == Operation::spqr_matvec || operation == Operation::spqr_matmul;
}

std::size_t operation_bytes(const OperationCase& what, const Backend& backend) {
  const bool attention = what.operation == Operation::attention;
  const std::int64_t in = attention ? what.heads * what.head_dim : what.n;
  const std::int64_t out = attention ? in : what.m;
  // The input twice: random values, and the backend's.
  const std::int64_t rows = static_cast<std::int64_t>(sizeof(float)) * what.tokens * (2 * in + out);
  const LargestShapes largest{
      .tokens = what.tokens,
      .in_features = what.n,
      .heads = what.heads,
      .heads_per_kv = what.kv_heads > 0 ? what.heads / what.kv_heads : 0,
      .head_dim = what.head_dim,
  };
  return (attention ? attention_operand_bytes(what, backend) : product_operand_bytes(what, backend)) +
         static_cast<std::size_t>(rows) + backend.scratch_bytes(largest);
}

void require_memory(const OperationCase& what, const Backend& backend, std::size_t available) {
  const std::size_t bytes = operation_bytes(what, backend);
  if (bytes <= available) return;
  throw std::runtime_error(
      fmt::format("too little memory: {} with its operands and copies of them takes {}, but {} are available",
                  name_of(what.operation), human_bytes(bytes), human_bytes(available)));
}

OperationResult run_operation(const OperationCase& what, Backend& backend, const BackendOptions& options,
                              std::int64_t repetitions, const MachineLimits& limits, const StopCheck& stop) {
  require_memory(what, backend, std::min(available_memory(), backend.free_memory().value_or(SIZE_MAX)));
  set_threads(options.threads);  // of what makes the operands
  const std::unique_ptr<TimedOperation> operation = what.operation == Operation::attention
                                                        ? make_timed_attention(what, backend)
                                                        : make_timed_product(what, backend);
  OperationResult result{.tolerance = tolerance_of(what, options.activations), .work = operation->work()};
  const std::vector<std::int64_t> compared = spread_tokens(what.tokens);
  operation->run(0);
  const std::unique_ptr<Backend> reference = make_backend("reference", {});
  result.relative_error =
      relative_error(operation->result(compared), operation->compute(*reference, compared));
  if (!(result.relative_error <= result.tolerance)) return result;

  Caller caller(*operation, backend, stop);
  const std::int64_t calls = caller.enough();
  std::vector<MachineRates> rates;
  for (std::int64_t run = 0; run < repetitions; ++run) {
    result.seconds.push_back(caller.time(calls));
    rates.push_back(
        limits.measure(backend, options, is_packed(what.operation) ? Products::packed : Products::f32));
  }
  result.limits = median(rates);
  return result;
}

BackendRows::BackendRows(Backend& backend, std::int64_t rows, std::int64_t cols)
    : backend_(backend),
      rows_(rows),
      cols_(cols),
      buffer_(backend.allocate(static_cast<std::size_t>(rows * cols) * sizeof(float))) {}

BackendRows::BackendRows(Backend& backend, std::int64_t rows, std::int64_t cols, std::uint64_t seed)
    : BackendRows(backend, rows, cols) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<std::size_t>(rows * cols));
  for (float& value : values) value = normal(random);
  backend_.upload(buffer_.data(), values.data(), values.size() * sizeof(float));
}

std::vector<float> BackendRows::download() const {
  std::vector<float> values(static_cast<std::size_t>(rows_ * cols_));
  backend_.download(values.data(), buffer_.data(), values.size() * sizeof(float));
  return values;
}

BackendRows BackendRows::copy(Backend& other, const std::vector<std::int64_t>& rows) const {
  const auto width = static_cast<std::size_t>(cols_) * sizeof(float);
  BackendRows some(other, static_cast<std::int64_t>(rows.size()), cols_);
  std::vector<float> values(static_cast<std::size_t>(cols_));
  for (std::size_t i = 0; i < rows.size(); ++i) {
    backend_.download(values.data(), matrix().data + rows[i] * cols_, width);
    other.upload(some.matrix().data + static_cast<std::int64_t>(i) * cols_, values.data(), width);
  }
  return some;
}

}  // namespace spqr
