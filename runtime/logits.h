// What logits say of tokens.
#pragma once

#include <cstdint>
#include <span>

namespace spqr {

// log sum_i exp(logits[i]), to 1e-6; not a number where they hold one.
double log_sum_exp(std::span<const float> logits);

// -log softmax(logits)[id].
double negative_log_likelihood(std::span<const float> logits, std::int32_t id);

// Throws std::runtime_error unless `value`, which was made of logits, is finite.
void require_finite(double value);

}  // namespace spqr
