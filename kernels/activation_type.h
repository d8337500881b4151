// In what arithmetic activations are multiplied with packed weights.
#pragma once

#include <cstdint>
#include <string_view>

namespace spqr {

// int16: every 256 columns of x are rounded to 16 bits with a scale of their own and multiplied with the
// codes in integers; outliers stay in f32.
enum class ActivationType : std::uint8_t { f32, int16 };

constexpr std::string_view name_of(ActivationType activations) {
  return activations == ActivationType::f32 ? "f32" : "int16";
}

}  // namespace spqr
