// Memory for what is read from end to end again and again.
#pragma once

#include <cstddef>
#include <memory>

namespace spqr {

// Whole pages of 2 MiB where the system has them: with pages of 4 KB a third of the time goes into finding
// these.
class LargeMemory {
 public:
  // Contents are undefined. Throws std::bad_alloc.
  explicit LargeMemory(std::size_t bytes);
  std::byte* data() const { return memory_.get(); }
  std::size_t bytes() const { return bytes_; }

 private:
  std::unique_ptr<std::byte, void (*)(void*)> memory_;
  std::size_t bytes_;
};

}  // namespace spqr
