// A safetensors file, memory-mapped and validated. Specification: github.com/huggingface/safetensors,
// "Format": u64 little-endian header length (at most 100 MB), a UTF-8 JSON object without duplicate keys,
// then the data; offsets are contiguous from 0 to the end of the file, size = shape x dtype.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "models/file_bytes.h"

namespace spqr {

struct SafetensorsTensor {
  std::string name;
  std::string dtype;  // as written: "F32", "BF16", "I64", ...
  std::vector<std::int64_t> shape;
  std::span<const std::byte> data;
};

class SafetensorsFile {
 public:
  // Throws std::runtime_error: file, what was expected and found ("incomplete download?").
  static SafetensorsFile open(const std::filesystem::path& path, bool mmap = true);
  // The same checks on bytes already at hand; `where` names them in errors. The bytes must outlive the
  // result.
  static SafetensorsFile parse(FileBytes bytes, const std::string& where);

  const std::vector<SafetensorsTensor>& tensors() const { return tensors_; }  // in order of their offsets
  const SafetensorsTensor* find(std::string_view name) const;
  const std::map<std::string, std::string, std::less<>>& metadata() const { return metadata_; }
  std::size_t file_bytes() const { return bytes_.bytes().size(); }
  // Keeps the file in memory (FileBytes::lock).
  void lock(const std::filesystem::path& name) const { bytes_.lock(name); }

 private:
  FileBytes bytes_;
  std::vector<SafetensorsTensor> tensors_;
  std::map<std::string, std::size_t, std::less<>> index_;
  std::map<std::string, std::string, std::less<>> metadata_;
};

}  // namespace spqr
