// Memory that grows on demand and is kept, so that decoding allocates nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace spqr {

// `memory`, at least `count` long. What was in it is kept where it was long enough, and is nobody's business
// where not.
template <typename Value>
Value* grown(std::vector<Value>& memory, std::int64_t count) {
  if (memory.size() < static_cast<std::size_t>(count)) memory.resize(static_cast<std::size_t>(count));
  return memory.data();
}

}  // namespace spqr
