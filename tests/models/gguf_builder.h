// GGUF files made by tests, right or wrong.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "tests/models/files.h"

namespace spqr::gguf {

inline std::string string_of(const std::string& text) {
  return bytes_of(static_cast<std::uint64_t>(text.size())) + text;
}

// The types of metadata values that the tests write.
inline std::string u32(std::uint32_t value) {
  return bytes_of(4U) + bytes_of(value);
}
inline std::string i32(std::int32_t value) {
  return bytes_of(5U) + bytes_of(value);
}
inline std::string f32(float value) {
  return bytes_of(6U) + bytes_of(value);
}
inline std::string text(const std::string& value) {
  return bytes_of(8U) + string_of(value);
}

struct Entry {
  std::string name;
  std::vector<std::uint64_t> extents;  // fastest first, as in the file
  std::uint32_t type = 0;
  std::uint64_t offset = 0;
};

// A GGUF file of these parts, right or wrong.
struct Builder {
  std::uint32_t version = 3;
  std::vector<std::pair<std::string, std::string>> values;
  std::vector<Entry> tensors;
  std::size_t alignment = 32;
  std::string data;

  // Gives `key` the value, or another one.
  void set(const std::string& key, const std::string& value) {
    for (auto& [name, old] : values) {
      if (name == key) {
        old = value;
        return;
      }
    }
    values.emplace_back(key, value);
  }

  std::string bytes() const {
    std::string out = "GGUF" + bytes_of(version) + bytes_of(static_cast<std::uint64_t>(tensors.size())) +
                      bytes_of(static_cast<std::uint64_t>(values.size()));
    for (const auto& [key, value] : values) out += string_of(key) + value;
    for (const Entry& tensor : tensors) {
      out += string_of(tensor.name) + bytes_of(static_cast<std::uint32_t>(tensor.extents.size()));
      for (const std::uint64_t extent : tensor.extents) out += bytes_of(extent);
      out += bytes_of(tensor.type) + bytes_of(tensor.offset);
    }
    out.resize((out.size() + alignment - 1) / alignment * alignment, '\0');
    return out + data;
  }
};

inline std::span<const std::byte> span_of(const std::string& bytes) {
  return std::as_bytes(std::span(bytes));
}

}  // namespace spqr::gguf
