#include "models/checkpoint.h"

#include <fmt/ranges.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <stdexcept>

#include "models/gguf_checkpoint.h"
#include "models/hf_checkpoint.h"
#include "models/llama2c_checkpoint.h"
#include "models/meta_checkpoint.h"
#include "models/safetensors.h"
#include "models/spqr_container.h"
#include "models/stored_types.h"
#include "models/torch_file.h"

namespace spqr {
namespace {

namespace fs = std::filesystem;

// The first bytes of a file, as text; shorter where the file is.
std::string first_bytes(const fs::path& path, std::size_t count) {
  std::ifstream file(path, std::ios::binary);
  if (!file)
    throw std::runtime_error(fmt::format("{}: cannot be read: {}", path.string(), std::strerror(errno)));
  std::string bytes(count, '\0');
  file.read(bytes.data(), static_cast<std::streamsize>(count));
  bytes.resize(static_cast<std::size_t>(file.gcount()));
  return bytes;
}

// Both begin alike; a file that is cut off is taken for what it is more often.
bool is_spqr_file(const fs::path& path) {
  try {
    const SafetensorsFile file = SafetensorsFile::open(path);
    const auto format = file.metadata().find(container::kFormatKey);
    return format != file.metadata().end() && format->second == container::kFormat;
  } catch (const std::runtime_error&) {
    return false;
  }
}

// Containers that people have and that this does not read, by how they begin.
void refuse_known_others(const fs::path& path, const std::string& start) {
  const char* what = nullptr;
  if (start.size() > 8 && start[8] == '{') {
    what = is_spqr_file(path)
               ? "a .spqr file already, which spqr-run runs: give the checkpoint it was made of"
               : "a safetensors file: give the directory that holds it and its config.json";
  }
  if (is_torch_file(start)) what = "a PyTorch file: give the directory that holds it and its config.json";
  for (const char* old : {"lmgg", "fmgg", "tjgg"}) {
    if (start.starts_with(old))
      what = "a GGML file from before GGUF, which is not supported: convert it to GGUF";
  }
  if (what != nullptr) throw std::runtime_error(fmt::format("{}: is {}", path.string(), what));
}

}  // namespace

bool CheckpointTensor::is_quantized() const {
  return stored_as != "F32" && stored_as != "F16" && stored_as != "BF16";
}

const CheckpointTensor* Checkpoint::find(std::string_view name) const {
  for (const CheckpointTensor& tensor : tensors()) {
    if (tensor.name == name) return &tensor;
  }
  return nullptr;
}

const CheckpointTensor& Checkpoint::at(std::string_view name) const {
  const CheckpointTensor* tensor = find(name);
  if (tensor == nullptr) throw std::runtime_error(fmt::format("{}: has no tensor {}", where(), name));
  return *tensor;
}

void Checkpoint::require_shape(std::string_view name, const std::vector<std::int64_t>& shape) const {
  const std::vector<std::int64_t>& found = at(name).shape;
  if (found == shape) return;
  throw std::runtime_error(fmt::format("{}: tensor {} has shape [{}], expected [{}] from the configuration",
                                       where(), name, fmt::join(found, ", "), fmt::join(shape, ", ")));
}

std::vector<float> Checkpoint::read(std::string_view name) const {
  std::vector<float> values(static_cast<std::size_t>(element_count(at(name).shape)));
  read(name, values.data());
  return values;
}

std::unique_ptr<Checkpoint> open_checkpoint(const fs::path& path, const CheckpointOptions& options) {
  std::error_code error;
  if (!fs::exists(path, error))
    throw std::runtime_error(fmt::format("{}: no such file or directory", path.string()));
  if (fs::is_directory(path, error)) {
    return is_meta_directory(path) ? open_meta_checkpoint(path, options) : open_hf_checkpoint(path, options);
  }
  const std::string start = first_bytes(path, 32);
  if (start.starts_with("GGUF")) return open_gguf_checkpoint(path, options);
  refuse_known_others(path, start);
  return open_llama2c_checkpoint(path, options);
}

}  // namespace spqr
