// Files of torch.save: any bytes open or give an error, and every tensor of what opens can be read.
#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>

#include "models/torch_file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const auto bytes = spqr::FileBytes::view(std::as_bytes(std::span(data, size)));
    const spqr::TorchFile file = spqr::TorchFile::parse(bytes, "fuzz");
    const auto* dict = file.root().as<spqr::pickle::Dict>();
    if (dict == nullptr) return 0;
    for (const auto& [key, value] : dict->items) {
      if (const auto* tensor = value->as<spqr::pickle::Tensor>(); tensor != nullptr) file.read(*tensor);
    }
  } catch (const std::runtime_error&) {
  }
  return 0;
}
