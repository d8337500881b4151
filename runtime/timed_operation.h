// Operations with operands to work on, for operation_bench.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/backend.h"
#include "runtime/operation_bench.h"

namespace spqr {

// Copies of an operand of so many bytes: 256 MiB together or more, which no cache holds, unless it is so
// small that keeping them apart would take longer than what is to be timed; but no more than a quarter of a
// device's memory.
inline std::int64_t copies_of(std::size_t bytes, const Backend& backend) {
  constexpr std::size_t kTogether = std::size_t{256} << 20U;
  constexpr std::size_t kMost = 4096;
  const std::size_t together = std::min(kTogether, backend.free_memory().value_or(SIZE_MAX) / 4);
  return static_cast<std::int64_t>(
      std::clamp<std::size_t>((together + bytes - 1) / std::max<std::size_t>(bytes, 1), 1, kMost));
}

class TimedOperation {
 public:
  virtual ~TimedOperation() = default;
  // Weights or caches, all alike.
  virtual std::int64_t copies() const = 0;
  // Of one call.
  virtual Work work() const = 0;
  // All tokens, with a copy.
  virtual void run(std::int64_t copy) = 0;
  // The result of the last run, of these tokens one after the other, and what `other` makes of the same.
  virtual std::vector<float> result(const std::vector<std::int64_t>& tokens) const = 0;
  virtual std::vector<float> compute(Backend& other, const std::vector<std::int64_t>& tokens) const = 0;
};

// `backend` has to live as long. Throw std::invalid_argument.
std::unique_ptr<TimedOperation> make_timed_product(const OperationCase& what, Backend& backend);
std::unique_ptr<TimedOperation> make_timed_attention(const OperationCase& what, Backend& backend);

// Bytes of weights or of a cache: what they are made of, the original and its copies.
std::size_t product_operand_bytes(const OperationCase& what, const Backend& backend);
std::size_t attention_operand_bytes(const OperationCase& what, const Backend& backend);

// Rows of f32 in a backend's memory.
class BackendRows {
 public:
  BackendRows(Backend& backend, std::int64_t rows, std::int64_t cols);
  // Random values, normally distributed.
  BackendRows(Backend& backend, std::int64_t rows, std::int64_t cols, std::uint64_t seed);

  Matrix matrix() const { return buffer_.matrix(rows_, cols_); }
  std::vector<float> download() const;
  // Some of the rows, in the memory of `other`.
  BackendRows copy(Backend& other, const std::vector<std::int64_t>& rows) const;

 private:
  Backend& backend_;
  std::int64_t rows_;
  std::int64_t cols_;
  Buffer buffer_;
};

}  // namespace spqr
