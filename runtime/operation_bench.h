// Single operations of a backend: whether they compute what `reference` computes, and how fast.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/backend.h"
#include "kernels/spqr_format.h"
#include "runtime/bench_work.h"
#include "runtime/machine_limits.h"
#include "runtime/session.h"

namespace spqr {

enum class Operation : std::uint8_t { spqr_matvec, spqr_matmul, dense_matvec, dense_matmul, attention };

// "spqr_matvec", ...
std::string_view name_of(Operation operation);
std::optional<Operation> operation_of(std::string_view name);
std::span<const std::string_view> operation_names();
// With packed weights.
bool is_packed(Operation operation);

struct OperationCase {
  Operation operation = Operation::spqr_matvec;
  std::int64_t tokens = 1;  // of matvec one
  // y (tokens, m) = W x, W (m, n): packed in this format, or f16.
  std::int64_t m = 0, n = 0;
  SpqrFormat format = {};
  double outlier_share = 0;
  // Attention of `tokens` after `depth` that are in the cache.
  std::int64_t heads = 0, kv_heads = 0, head_dim = 0;
  std::int64_t depth = 0;
  CacheTypes cache_types = {};
};

// Bytes that measuring it takes at most: what operands are made of, their copies, and what the operation
// reads and writes.
std::size_t operation_bytes(const OperationCase& what, const Backend& backend);
// Throws std::runtime_error where `available` bytes are fewer.
void require_memory(const OperationCase& what, const Backend& backend, std::size_t available);

struct OperationResult {
  double relative_error = 0;         // |y - y_reference| / |y_reference|; of many tokens four are compared
  double tolerance = 0;              // more of it is an error of the backend
  std::vector<double> seconds = {};  // of one call, by repetition; none where the result is wrong
  Work work = {};                    // of one call
  MachineRates limits = {};          // medians of what was measured after each repetition
};

// On random values. `backend` was made with `options`. Calls take turns with copies of the weights or the
// cache, 256 MiB of them or more, so that they come from memory and not from caches. Throws
// std::invalid_argument for a format or a shape that there is not, std::runtime_error where memory does not
// hold it, Interrupted where `stop` says so.
OperationResult run_operation(const OperationCase& what, Backend& backend, const BackendOptions& options,
                              std::int64_t repetitions, const MachineLimits& limits, const StopCheck& stop);

}  // namespace spqr
