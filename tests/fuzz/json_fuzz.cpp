// Strict JSON: any bytes parse or give an error.
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string_view>

#include "models/json.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    spqr::parse_json_strict({reinterpret_cast<const char*>(data), size}, "fuzz");
  } catch (const std::runtime_error&) {
  }
  return 0;
}
