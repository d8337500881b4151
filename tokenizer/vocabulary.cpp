#include "tokenizer/vocabulary.h"

#include <utility>

namespace spqr {

bool Vocabulary::add(std::int32_t id, std::string text) {
  const auto index = static_cast<std::size_t>(id);
  if (index >= texts_.size()) {
    texts_.resize(index + 1);
    used_.resize(index + 1);
  }
  if (used_[index]) return texts_[index] == text;
  used_[index] = true;
  ids_.insert_or_assign(text, id);
  texts_[index] = std::move(text);
  return true;
}

const std::string* Vocabulary::text(std::int32_t id) const {
  const auto index = static_cast<std::size_t>(id);
  return id >= 0 && index < texts_.size() && used_[index] ? &texts_[index] : nullptr;
}

std::optional<std::int32_t> Vocabulary::find(std::string_view text) const {
  const auto found = ids_.find(text);
  if (found == ids_.end()) return std::nullopt;
  return found->second;
}

}  // namespace spqr
