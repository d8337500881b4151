// RoPE scaling that a file tells by what it divides each frequency by, as GGUF's rope_freqs.weight does.
#pragma once

#include <optional>
#include <span>

#include "models/config.h"

namespace spqr {

// The scaling that config.json knows and that gives these factors (head_dim / 2): llama3, or none where they
// are all 1. Where several parameters give them it is one of these. nullopt: there are none. Of `model`,
// head_dim and rope_theta count.
std::optional<RopeScaling> scaling_of_factors(std::span<const float> factors, const ModelConfig& model);

}  // namespace spqr
