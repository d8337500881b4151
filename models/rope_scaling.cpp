// Source: transformers, modeling_rope_utils.py (default, linear, llama3), which computes in f32.
#include <cmath>
#include <numbers>

#include "models/config.h"

namespace spqr {
namespace {

// Llama 3.1: wavelengths that fit the original context `high_freq_factor` times or more stay, those that fit
// it `low_freq_factor` times or less are divided by `factor`, those between are interpolated.
float llama3_frequency(float frequency, const RopeScaling& scaling) {
  const auto factor = static_cast<float>(scaling.factor);
  const auto low = static_cast<float>(scaling.low_freq_factor);
  const auto high = static_cast<float>(scaling.high_freq_factor);
  const auto context = static_cast<float>(scaling.original_max_position_embeddings);
  const float wavelength = 2 * std::numbers::pi_v<float> / frequency;
  if (wavelength < context / high) return frequency;
  if (wavelength > context / low) return frequency / factor;
  const float smooth = (context / wavelength - low) / (high - low);
  return (1 - smooth) * frequency / factor + smooth * frequency;
}

}  // namespace

std::vector<float> rope_inverse_frequency(const ModelConfig& config) {
  std::vector<float> frequencies(static_cast<std::size_t>(config.head_dim / 2));
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(config.head_dim);
    const auto power = static_cast<float>(std::pow(config.rope_theta, static_cast<double>(exponent)));
    const float frequency = 1.0F / power;
    switch (config.rope_scaling.type) {
      case RopeScaling::Type::none:
        frequencies[i] = frequency;
        break;
      case RopeScaling::Type::linear:
        frequencies[i] = frequency / static_cast<float>(config.rope_scaling.factor);
        break;
      case RopeScaling::Type::llama3:
        frequencies[i] = llama3_frequency(frequency, config.rope_scaling);
        break;
    }
  }
  return frequencies;
}

}  // namespace spqr
