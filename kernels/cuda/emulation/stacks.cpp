#include "kernels/cuda/emulation/stacks.h"

#include <sys/mman.h>

#include <new>

#if defined(__SANITIZE_ADDRESS__)
#define SPQR_ADDRESS_SANITIZER
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SPQR_ADDRESS_SANITIZER
#endif
#endif
#if defined(SPQR_ADDRESS_SANITIZER)
#include <sanitizer/asan_interface.h>
#endif

namespace spqr::emulation {
namespace {

constexpr unsigned kGroup = 32;  // stacks that are made at once
constexpr std::size_t kPage = 4096;
constexpr std::size_t kStride = Stacks::kBytes + kPage;

// Fibers of a warp use the same depth of their stacks at the same time. Were all stacks aligned alike, their
// lines would fall into a few sets of the caches.
std::size_t shift(unsigned index) {
  constexpr std::size_t kStep = 9 * 64;
  return index * kStep % kPage / 64 * 64;
}

}  // namespace

Stacks::~Stacks() {
  for (std::byte* group : groups_) munmap(group, kGroup * kStride);
}

void Stacks::reserve(unsigned count) {
  while (groups_.size() * kGroup < count) {
    groups_.reserve(groups_.size() + 1);
    void* memory = mmap(nullptr, kGroup * kStride, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    auto* group = static_cast<std::byte*>(memory);
    groups_.push_back(group);
    for (unsigned i = 0; i < kGroup; ++i) {
      if (mprotect(group + i * kStride, kPage, PROT_NONE) != 0) throw std::bad_alloc();
    }
  }
}

void Stacks::forget_frames([[maybe_unused]] unsigned index) const {
#if defined(SPQR_ADDRESS_SANITIZER)
  __asan_unpoison_memory_region(groups_[index / kGroup] + index % kGroup * kStride + kPage, kBytes);
#endif
}

void* Stacks::top(unsigned index) const {
  return groups_[index / kGroup] + (index % kGroup + 1) * kStride - shift(index);
}

std::size_t Stacks::usable_bytes(unsigned index) {
  return kBytes - shift(index);
}

}  // namespace spqr::emulation
