// In what arithmetic few tokens are multiplied with packed weights.
#pragma once

#include <cstdint>
#include <string_view>

namespace spqr {

// int8: each span of up to 32 columns of x is rounded to 8 bits with a scale of its own and multiplied in
// integers; outliers stay in f32.
enum class ActivationType : std::uint8_t { f32, int8 };

constexpr std::string_view name_of(ActivationType activations) {
  return activations == ActivationType::f32 ? "f32" : "int8";
}

}  // namespace spqr
