#include "runtime/logits.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <stdexcept>

#include "kernels/cpu/kernel_tables.h"

namespace spqr {

double log_sum_exp(std::span<const float> logits) {
  const cpu::VectorKernels& kernels = best_kernel_tables().vectors;
  double maximum = -std::numeric_limits<double>::infinity();
  double total = 0;  // of exp(logit - maximum)
  // Sums of so many are exact enough in f32.
  std::array<float, 1024> some;
  for (std::size_t begin = 0; begin < logits.size(); begin += some.size()) {
    const std::size_t length = std::min(some.size(), logits.size() - begin);
    std::copy_n(logits.begin() + static_cast<std::ptrdiff_t>(begin), length, some.begin());
    const auto count = static_cast<std::int64_t>(length);
    // exp_sum() is not made for what is no number, and may turn it into one.
    if (std::isnan(kernels.dot(some.data(), some.data(), count)))
      return std::numeric_limits<double>::quiet_NaN();
    const float largest = kernels.scale_max(1.0F, some.data(), count);
    const double sum = static_cast<double>(kernels.exp_sum(largest, some.data(), count));
    const double together = std::max(maximum, static_cast<double>(largest));
    total = total * std::exp(maximum - together) + sum * std::exp(static_cast<double>(largest) - together);
    maximum = together;
  }
  return std::log(total) + maximum;
}

double negative_log_likelihood(std::span<const float> logits, std::int32_t id) {
  return log_sum_exp(logits) - static_cast<double>(logits[static_cast<std::size_t>(id)]);
}

void require_finite(double value) {
  if (!std::isfinite(value))
    throw std::runtime_error("the model's logits are not finite; is its file damaged? --verify tells");
}

}  // namespace spqr
