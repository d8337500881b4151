// LLaMA 3's tokenizer.model: any bytes load or give an error, and what loads encodes and decodes text.
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "tokenizer/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  try {
    const auto tokenizer = spqr::load_tokenizer({{"tokenizer.tiktoken", bytes}});
    tokenizer->decode(tokenizer->encode(bytes, {}), true);
  } catch (const std::runtime_error&) {
  }
  return 0;
}
