// Pickles: any bytes load or give an error.
#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>

#include "models/pickle.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    spqr::pickle::load(std::as_bytes(std::span(data, size)), "fuzz");
  } catch (const std::runtime_error&) {
  }
  return 0;
}
