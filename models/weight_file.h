// The named tensors of one file of weights, safetensors or PyTorch, for readers that do not care which.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace spqr {

struct WeightTensor {
  std::string name;
  std::string dtype;  // as safetensors spells it
  std::vector<std::int64_t> shape;
  // Widens it to f32; of dtypes F32, F16 and BF16. Keeps the file open.
  std::function<void(float* out)> read;
};

// Validates headers, or the pickle, and reads no numbers. A PyTorch file holds a dictionary of tensors by
// name. Throws std::runtime_error naming file and tensor.
std::vector<WeightTensor> safetensors_weights(const std::filesystem::path& path);
std::vector<WeightTensor> torch_weights(const std::filesystem::path& path);

bool is_widenable(const WeightTensor& tensor);
// Throws std::runtime_error, naming `where`, for a dtype that `read` does not widen.
void require_widenable(const WeightTensor& tensor, const std::string& where);

}  // namespace spqr
