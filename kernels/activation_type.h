// In what arithmetic activations are multiplied with packed weights.
#pragma once

#include <cstdint>
#include <string_view>

namespace spqr {

// automatic: whichever is fast on the machine and loses nothing that perplexity shows. Every 256 columns of x
// are rounded to 16 bits with a scale of their own and multiplied with the codes in integers, outliers in
// f32; or, of many tokens, x and the weights are rounded to bf16. Sums are f32.
enum class ActivationType : std::uint8_t { f32, automatic };

constexpr std::string_view name_of(ActivationType activations) {
  return activations == ActivationType::f32 ? "f32" : "auto";
}

}  // namespace spqr
