// Memory that grows on demand and is kept, so that decoding allocates nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <vector>

namespace spqr {

// Of memory that begins where a cache line does: vectors that lie across two lines take two reads.
template <typename Value>
struct LineAllocator {
  using value_type = Value;
  static constexpr std::align_val_t kLine{64};

  LineAllocator() = default;
  template <typename Other>
  LineAllocator(const LineAllocator<Other>& /*other*/) {}

  Value* allocate(std::size_t count) {
    return static_cast<Value*>(::operator new(count * sizeof(Value), kLine));
  }
  void deallocate(Value* values, std::size_t /*count*/) { ::operator delete(values, kLine); }
  friend bool operator==(const LineAllocator& /*left*/, const LineAllocator& /*right*/) { return true; }
};

template <typename Value>
using Growing = std::vector<Value, LineAllocator<Value>>;

// `memory`, at least `count` long. What was in it is kept where it was long enough, and is nobody's business
// where not.
template <typename Value>
Value* grown(Growing<Value>& memory, std::int64_t count) {
  if (memory.size() < static_cast<std::size_t>(count)) memory.resize(static_cast<std::size_t>(count));
  return memory.data();
}

}  // namespace spqr
