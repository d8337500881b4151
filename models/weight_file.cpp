#include "models/weight_file.h"

#include <fmt/format.h>

#include <memory>
#include <set>
#include <stdexcept>

#include "models/safetensors.h"
#include "models/stored_types.h"
#include "models/torch_file.h"

namespace spqr {

std::vector<WeightTensor> safetensors_weights(const std::filesystem::path& path) {
  const auto file = std::make_shared<SafetensorsFile>(SafetensorsFile::open(path));
  std::vector<WeightTensor> tensors;
  for (const SafetensorsTensor& tensor : file->tensors()) {
    tensors.push_back({tensor.name, tensor.dtype, tensor.shape, [file, &tensor](float* out) {
                         widen(*find_stored_type(tensor.dtype), tensor.data, out);
                       }});
  }
  return tensors;
}

std::vector<WeightTensor> torch_weights(const std::filesystem::path& path) {
  const auto file = std::make_shared<TorchFile>(TorchFile::open(path));
  const auto* dict = file->root().as<pickle::Dict>();
  if (dict == nullptr)
    throw std::runtime_error(fmt::format("{}: does not hold a dictionary of tensors", path.string()));
  std::vector<WeightTensor> tensors;
  std::set<std::string_view> names;
  for (const auto& [key, value] : dict->items) {
    const auto* name = key->as<std::string>();
    const auto* tensor = value->as<pickle::Tensor>();
    if (name == nullptr || tensor == nullptr) {
      throw std::runtime_error(fmt::format("{}: entry {} is not a tensor with a name", path.string(),
                                           name == nullptr ? "without a name" : *name));
    }
    if (!names.insert(*name).second)
      throw std::runtime_error(fmt::format("{}: tensor {} appears twice", path.string(), *name));
    tensors.push_back({*name, tensor->storage.dtype, tensor->shape, [file, tensor](float* out) {
                         widen(*find_stored_type(tensor->storage.dtype), file->read(*tensor), out);
                       }});
  }
  return tensors;
}

bool is_widenable(const WeightTensor& tensor) {
  return tensor.dtype == "F32" || tensor.dtype == "F16" || tensor.dtype == "BF16";
}

void require_widenable(const WeightTensor& tensor, const std::string& where) {
  if (is_widenable(tensor)) return;
  throw std::runtime_error(
      fmt::format("{}: tensor {} is stored as {}, which is not supported; supported: F32, F16, BF16", where,
                  tensor.name, tensor.dtype));
}

}  // namespace spqr
