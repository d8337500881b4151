// Stacks of fibers, made when they are first used and kept.
#pragma once

#include <cstddef>
#include <vector>

namespace spqr::emulation {

class Stacks {
 public:
  static constexpr std::size_t kBytes = std::size_t{128} << 10U;

  Stacks() = default;
  Stacks(const Stacks&) = delete;
  Stacks& operator=(const Stacks&) = delete;
  ~Stacks();

  // Makes stacks 0 .. count - 1 exist. A page that cannot be accessed lies below each.
  void reserve(unsigned count);
  // Forgets what AddressSanitizer, where it is on, knows of frames that were left without returning.
  void forget_frames(unsigned index) const;
  // Where stack `index` begins, which grows downwards, and the bytes that it has.
  void* top(unsigned index) const;
  static std::size_t usable_bytes(unsigned index);

 private:
  std::vector<std::byte*> groups_;
};

}  // namespace spqr::emulation
