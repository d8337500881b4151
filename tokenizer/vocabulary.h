// Token texts by id and ids by text.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace spqr {

struct TextHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};
using IdByText = std::unordered_map<std::string, std::int32_t, TextHash, std::equal_to<>>;

class Vocabulary {
 public:
  // Returns false if `id` (0 .. kMaxVocabSize - 1) is taken by another text.
  bool add(std::int32_t id, std::string text);

  std::int32_t size() const { return static_cast<std::int32_t>(texts_.size()); }  // largest id + 1
  // nullptr: there is no such id.
  const std::string* text(std::int32_t id) const;
  std::optional<std::int32_t> find(std::string_view text) const;  // of the same text twice, the last added

 private:
  std::vector<std::string> texts_;
  std::vector<bool> used_;
  IdByText ids_;
};

}  // namespace spqr
