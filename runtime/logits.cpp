#include "runtime/logits.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <stdexcept>

#include "kernels/cpu/kernel_tables.h"

namespace spqr {

double log_sum_exp(std::span<const float> logits) {
  const auto exp_sum = best_kernel_tables().vectors.exp_sum;
  const float maximum = *std::max_element(logits.begin(), logits.end());
  double total = 0;
  // Sums of so many are exact enough in f32.
  std::array<float, 1024> some;
  for (std::size_t begin = 0; begin < logits.size(); begin += some.size()) {
    const std::size_t count = std::min(some.size(), logits.size() - begin);
    std::copy_n(logits.begin() + static_cast<std::ptrdiff_t>(begin), count, some.begin());
    total += static_cast<double>(exp_sum(maximum, some.data(), static_cast<std::int64_t>(count)));
  }
  return std::log(total) + static_cast<double>(maximum);
}

double negative_log_likelihood(std::span<const float> logits, std::int32_t id) {
  return log_sum_exp(logits) - static_cast<double>(logits[static_cast<std::size_t>(id)]);
}

void require_finite(double value) {
  if (!std::isfinite(value))
    throw std::runtime_error("the model's logits are not finite; is its file damaged? --verify tells");
}

}  // namespace spqr
