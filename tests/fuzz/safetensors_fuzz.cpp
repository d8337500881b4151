// safetensors: any bytes open or give an error, and all data of what opens can be read.
#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>

#include "models/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const auto bytes = std::as_bytes(std::span(data, size));
    const auto file = spqr::SafetensorsFile::parse(spqr::FileBytes::view(bytes), "fuzz");
    unsigned sum = 0;
    for (const spqr::SafetensorsTensor& tensor : file.tensors()) {
      for (const std::byte byte : tensor.data) sum += std::to_integer<unsigned>(byte);
    }
    volatile unsigned kept = sum;
    (void)kept;
  } catch (const std::runtime_error&) {
  }
  return 0;
}
