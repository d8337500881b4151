#include "models/checkpoint.h"

#include <fmt/format.h>

#include <array>
#include <cstring>
#include <fstream>
#include <stdexcept>

#include "models/hf_checkpoint.h"
#include "models/stored_types.h"

namespace spqr {
namespace {

namespace fs = std::filesystem;

}  // namespace

const CheckpointTensor* Checkpoint::find(std::string_view name) const {
  for (const CheckpointTensor& tensor : tensors()) {
    if (tensor.name == name) return &tensor;
  }
  return nullptr;
}

std::vector<float> Checkpoint::read(std::string_view name) const {
  const CheckpointTensor* tensor = find(name);
  if (tensor == nullptr)
    throw std::runtime_error(fmt::format("the {} checkpoint has no tensor {}", format(), name));
  std::vector<float> values(static_cast<std::size_t>(element_count(tensor->shape)));
  read(name, values.data());
  return values;
}

std::unique_ptr<Checkpoint> open_checkpoint(const fs::path& path, const CheckpointOptions& options) {
  std::error_code error;
  if (!fs::exists(path, error))
    throw std::runtime_error(fmt::format("{}: no such file or directory", path.string()));
  if (fs::is_directory(path, error)) return open_hf_checkpoint(path, options);
  throw std::runtime_error(fmt::format("{}: not a model: expected a Hugging Face directory", path.string()));
}

}  // namespace spqr
