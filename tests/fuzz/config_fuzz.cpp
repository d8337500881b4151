// config.json: any bytes parse or give an error, and what parses has sizes that can be multiplied.
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "models/config.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const auto config = spqr::parse_config(std::string(reinterpret_cast<const char*>(data), size), "fuzz");
    if (config.num_attention_heads * config.head_dim * config.hidden_size <= 0) __builtin_trap();
    if (config.hidden_size * config.vocab_size * 4 <= 0) __builtin_trap();
    if (config.num_attention_heads % config.num_key_value_heads != 0) __builtin_trap();
    spqr::rope_inverse_frequency(config);
  } catch (const std::runtime_error&) {
  }
  return 0;
}
