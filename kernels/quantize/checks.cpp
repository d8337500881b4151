#include "kernels/quantize/checks.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <stdexcept>

#include "kernels/threads.h"

namespace spqr {

namespace {

// The largest |x| as bits exceeds those of every finite value exactly if there is a NaN or an infinity.
bool all_finite(std::span<const float> data) {
  constexpr std::size_t kPiece = 64 * 1024;
  std::atomic<bool> finite{true};
  parallel_for(static_cast<std::int64_t>((data.size() + kPiece - 1) / kPiece), [&](std::int64_t piece) {
    const std::size_t first = static_cast<std::size_t>(piece) * kPiece;
    const std::size_t end = std::min(first + kPiece, data.size());
    std::uint32_t largest = 0;
    for (std::size_t i = first; i < end; ++i)
      largest = std::max(largest, std::bit_cast<std::uint32_t>(data[i]) & 0x7FFFFFFFU);
    if (largest >= 0x7F800000U) finite = false;
  });
  return finite;
}

}  // namespace

void check_shape(std::span<const float> data, std::int64_t rows, std::int64_t columns,
                 const std::string& name) {
  std::int64_t size = 0;
  if (rows < 1 || columns < 1 || __builtin_mul_overflow(rows, columns, &size) ||
      data.size() != static_cast<std::size_t>(size)) {
    throw std::invalid_argument(name + " has " + std::to_string(data.size()) + " values, expected " +
                                std::to_string(rows) + " x " + std::to_string(columns) + ", at least 1 x 1");
  }
}

void check_finite(std::span<const float> data, std::int64_t columns, const std::string& name) {
  if (all_finite(data)) return;
  const auto bad = std::find_if(data.begin(), data.end(), [](float x) { return !std::isfinite(x); });
  const std::int64_t index = bad - data.begin();
  throw std::runtime_error(name + " contains " + (std::isnan(*bad) ? "NaN" : "infinity") + " at row " +
                           std::to_string(index / columns) + ", column " + std::to_string(index % columns) +
                           ": it cannot be quantized");
}

}  // namespace spqr
