// llama2.c checkpoints: any bytes open or give an error, and every tensor of what opens can be read.
#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>

#include "models/llama2c_checkpoint.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const auto bytes = std::as_bytes(std::span(data, size));
    const auto checkpoint = spqr::make_llama2c_checkpoint(bytes, "fuzz", {});
    for (const spqr::CheckpointTensor& tensor : checkpoint->tensors()) checkpoint->read(tensor.name);
  } catch (const std::runtime_error&) {
  }
  return 0;
}
