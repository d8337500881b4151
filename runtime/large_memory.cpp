#include "runtime/large_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <new>

namespace spqr {

LargeMemory::LargeMemory(std::size_t bytes) : memory_(nullptr, std::free), bytes_(bytes) {
  constexpr std::size_t kHugePage = std::size_t{2} << 20U;
  const std::size_t whole = std::max<std::size_t>(1, (bytes + kHugePage - 1) / kHugePage) * kHugePage;
  memory_.reset(static_cast<std::byte*>(std::aligned_alloc(kHugePage, whole)));
  if (memory_ == nullptr) throw std::bad_alloc();
  ::madvise(memory_.get(), whole, MADV_HUGEPAGE);  // where it fails there are small pages
}

}  // namespace spqr
