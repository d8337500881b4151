// Addresses given out one after the other, 256-byte aligned as cudaMalloc has them.
#pragma once

#include <cstddef>

namespace spqr::cuda {

inline constexpr std::size_t kAlignment = 256;

constexpr std::size_t aligned(std::size_t bytes) {
  return bytes == 0 ? kAlignment : (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

class Arena {
 public:
  Arena() = default;
  // Owns nothing.
  Arena(std::byte* begin, std::size_t capacity) : begin_(begin), capacity_(capacity) {}

  // Null where it does not fit.
  std::byte* take(std::size_t bytes) {
    const std::size_t size = aligned(bytes);
    if (size < bytes || size > capacity_ - used_) return nullptr;
    std::byte* taken = begin_ + used_;
    used_ += size;
    return taken;
  }
  std::size_t used() const { return used_; }
  std::size_t capacity() const { return capacity_; }

 private:
  std::byte* begin_ = nullptr;
  std::size_t capacity_ = 0;
  std::size_t used_ = 0;
};

}  // namespace spqr::cuda
