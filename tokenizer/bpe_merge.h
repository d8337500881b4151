// The merging loop of byte-pair encoding: the best of all adjacent pairs becomes one symbol, until none can.
// A heap of candidates over a linked list of symbols: O(n log n) for a word of n symbols, however long.
#pragma once

#include <cstdint>
#include <optional>
#include <queue>
#include <vector>

namespace spqr {

struct BpeSymbol {
  std::int32_t id = -1;
  std::uint32_t begin = 0;  // bytes begin .. end of the word
  std::uint32_t end = 0;
  std::int32_t previous = -1;  // indices of neighbours; -1: none
  std::int32_t next = -1;
};

template <typename Key>
struct BpeMerge {
  Key key{};             // smaller keys merge first, of equal ones the leftmost
  std::int32_t id = -1;  // of the merged symbol
};

// `symbols` in order; lookup(left, right) returns std::optional<BpeMerge<Key>>. Calls emit(symbol) for what
// remains, in order.
template <typename Key, typename Lookup, typename Emit>
void merge_symbols(std::vector<BpeSymbol>& symbols, const Lookup& lookup, const Emit& emit) {
  struct Candidate {
    Key key;
    std::int32_t left;
    std::int32_t right;
    std::uint32_t
        end;  // of the right symbol when this was found: another one now means that it has grown since
    std::int32_t id;
    bool operator<(const Candidate& other) const {  // std::priority_queue gives the largest first
      return key != other.key ? other.key < key : other.left < left;
    }
  };
  if (symbols.empty()) return;
  const auto consider = [&](std::int32_t left, std::int32_t right, auto& queue) {
    if (left < 0 || right < 0) return;
    const std::optional<BpeMerge<Key>> merge = lookup(symbols[left], symbols[right]);
    if (merge) queue.push({merge->key, left, right, symbols[right].end, merge->id});
  };
  std::priority_queue<Candidate> queue;
  const auto count = static_cast<std::int32_t>(symbols.size());
  for (std::int32_t i = 0; i < count; ++i) {
    symbols[i].previous = i - 1;
    symbols[i].next = i + 1 < count ? i + 1 : -1;
  }
  for (std::int32_t i = 0; i + 1 < count; ++i) consider(i, i + 1, queue);
  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    BpeSymbol& left = symbols[best.left];
    BpeSymbol& right = symbols[best.right];
    // A symbol that was merged away has no neighbours; see below.
    if (left.next != best.right || right.end != best.end) continue;
    left.id = best.id;
    left.end = right.end;
    left.next = right.next;
    if (right.next >= 0) symbols[right.next].previous = best.left;
    right.previous = right.next = -1;
    consider(left.previous, best.left, queue);
    consider(best.left, left.next, queue);
  }
  for (std::int32_t i = 0; i >= 0; i = symbols[i].next) emit(symbols[i]);
}

}  // namespace spqr
