// Texts that begin alike, evaluated as branches of what they have in common.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace spqr {

// Tokens that go on behind the first `first` tokens of the sequence that the branches before them have made:
// what that had there is forgotten. A sequence of its own begins at 0.
struct Branch {
  std::int64_t first = 0;
  std::span<const std::int32_t> ids;
};

// Of tokens that are one behind the other in a sequence: from `first` on.
struct Positions {
  std::int64_t first = 0;
  std::int64_t tokens = 0;
};

// All branches' tokens, one branch behind the other, cut into batches of `batch` tokens. A cut may go through
// a branch: what is before it stays in the cache, which is one for all.
class BranchTape {
 public:
  // Throws std::invalid_argument where a branch is empty or begins behind the sequence's end,
  // std::out_of_range where one ends beyond `context` tokens.
  BranchTape(std::span<const Branch> branches, std::int64_t context);

  std::int64_t tokens() const { return static_cast<std::int64_t>(ids_.size()); }
  std::span<const std::int32_t> ids(std::int64_t first, std::int64_t tokens) const;
  std::vector<Positions> positions(std::int64_t first, std::int64_t tokens) const;

 private:
  std::vector<std::int32_t> ids_;
  std::vector<std::int64_t> positions_;  // of each in its sequence
};

}  // namespace spqr
