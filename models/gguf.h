// A GGUF file (versions 2 and 3, little-endian), memory-mapped and validated: typed metadata, then tensors.
// Specification: ggml-org/ggml, docs/gguf.md. What the metadata of a language model means: gguf_checkpoint.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "models/safetensors.h"
#include "models/stored_types.h"

namespace spqr {

struct GgufTensor {
  std::string name;
  const StoredType* type = nullptr;
  std::vector<std::int64_t>
      shape;  // slowest first, the reverse of the file's order: (out_features, in_features)
  std::span<const std::byte> data;
};

class GgufFile {
 public:
  // Throws std::runtime_error: file, what was expected and found. Element types that are not supported are
  // refused by name.
  static GgufFile open(const std::filesystem::path& path);
  // The same on bytes already at hand, which must outlive the result; `where` names them in errors.
  static GgufFile parse(std::span<const std::byte> bytes, const std::string& where);

  // Values keep their kind: integers signed or unsigned, floats (f32 widened exactly), booleans, UTF-8
  // strings, arrays.
  const std::map<std::string, nlohmann::json, std::less<>>& metadata() const { return metadata_; }
  // nullptr: no such key
  const nlohmann::json* find_value(std::string_view key) const;
  const std::vector<GgufTensor>& tensors() const { return tensors_; }  // in the file's order
  const GgufTensor* find_tensor(std::string_view name) const;

 private:
  FileBytes bytes_;
  std::map<std::string, nlohmann::json, std::less<>> metadata_;
  std::vector<GgufTensor> tensors_;
  std::map<std::string, std::size_t, std::less<>> index_;
};

}  // namespace spqr
