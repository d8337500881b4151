#include "kernels/cuda/emulation/watch.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <utility>

#include "kernels/cuda/emulation/block.h"

namespace spqr::emulation {
namespace {

constexpr std::uintptr_t kNullPage = 4096;
constexpr std::size_t kNear = 256;  // bytes from an allocation: then that one is meant

std::atomic<bool> any_watched{false};

// Set while an access is looked at: what does so may be code that is watched itself.
constinit thread_local bool looking = false;

template <typename Look>
void look(const Look& body) {
  if (current == nullptr || looking || !watched()) return;
  looking = true;
  body(*Block::of_this_thread().watch());
  looking = false;
}

// For every byte of the device's range of addresses, the launch and the block that wrote it last.
std::atomic<std::uint64_t>* writers() {
  static auto* const it = [] {
    void* memory = mmap(nullptr, kDeviceRange * sizeof(std::uint64_t), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return memory == MAP_FAILED ? nullptr : static_cast<std::atomic<std::uint64_t>*>(memory);
  }();
  return it;
}

const char* verb(Access access) {
  switch (access) {
    case Access::read:
      return "reads ";
    case Access::write:
      return "writes ";
    case Access::atomic:
      return "changes ";
  }
  return "";
}

}  // namespace

bool watched() {
  return any_watched.load(std::memory_order_relaxed);
}
void set_watched() {
  any_watched = true;
}

void watch(Access access, const void* address, std::size_t bytes, const void* site) {
  look([&](Watch& it) { it.access(access, reinterpret_cast<std::uintptr_t>(address), bytes, site); });
}
void watch_copy_begins(const void* address, std::size_t bytes, const void* site) {
  look([&](Watch& it) { it.copy_begins(reinterpret_cast<std::uintptr_t>(address), bytes, site); });
}
void watch_copy_ends(const void* address, std::size_t bytes) {
  look([&](Watch& it) { it.copy_ends(reinterpret_cast<std::uintptr_t>(address), bytes); });
}

void Watch::begin_launch(std::uint32_t number) {
  launch_ = number;
  allocations_ = allocations();
  last_allocation_ = 0;
  shared_ = reinterpret_cast<std::uintptr_t>(block_.shared_memory());
  shared_bytes_ = block_.launch().shared_bytes;
}

void Watch::begin_block() {
  looking = false;
  bytes_.assign(shared_bytes_, {});
  written_.clear();
  epoch_ = 0;
  clocks_.assign(block_.thread_count(), {});
  for (unsigned i = 0; i < block_.thread_count(); ++i) clocks_[i][i % kLanes] = 1;
  statistics_.begin_block((block_.thread_count() + kLanes - 1) / kLanes);
}

void Watch::end_block() {
  for (unsigned w = 0; w * kLanes < block_.thread_count(); ++w) statistics_.settle(w);
}

// ---- order

Watch::Moment Watch::now() const {
  const unsigned thread = current->number;
  return {static_cast<std::uint16_t>(thread), epoch_, clocks_[thread][current->lane]};
}

bool Watch::before(const Moment& earlier) const {
  const unsigned thread = current->number;
  if (earlier.thread == kNobody || earlier.thread == thread || earlier.epoch < epoch_) return true;
  if (earlier.thread / kLanes != thread / kLanes) return false;
  return earlier.clock <= clocks_[thread][earlier.thread % kLanes];
}

void Watch::lanes_met(unsigned warp, unsigned mask, bool orders_memory) {
  statistics_.settle(warp);
  if (!orders_memory) return;
  Clocks known{};
  for (unsigned lanes = mask; lanes != 0; lanes &= lanes - 1) {
    const Clocks& of_lane = clocks_[warp * kLanes + static_cast<unsigned>(std::countr_zero(lanes))];
    for (unsigned i = 0; i < kLanes; ++i) known[i] = std::max(known[i], of_lane[i]);
  }
  for (unsigned lanes = mask; lanes != 0; lanes &= lanes - 1) {
    const auto lane = static_cast<unsigned>(std::countr_zero(lanes));
    clocks_[warp * kLanes + lane] = known;
    ++clocks_[warp * kLanes + lane][lane];
  }
}

void Watch::threads_met() {
  ++epoch_;
  for (unsigned w = 0; w * kLanes < block_.thread_count(); ++w) statistics_.settle(w);
}

// ---- accesses

void Watch::report(Access access, std::size_t bytes, const std::string& what) {
  block_.fail(verb(access) + std::to_string(bytes) + " bytes " + what);
}

void Watch::report_race(Access access, std::size_t bytes, const std::string& at, const Moment& other,
                        const char* other_did) {
  report(access, bytes,
         at + ", a race: thread " + to_string(block_.thread(other.thread).index) + other_did +
             " with no barrier between");
}

void Watch::access(Access access, std::uintptr_t address, std::size_t bytes, const void* site) {
  const std::size_t offset = address - shared_;
  if (offset < shared_bytes_ || block_.in_shared_buffer(address)) {
    if (offset >= shared_bytes_ || bytes > shared_bytes_ - offset)
      report(access, bytes,
             "at offset " + std::to_string(static_cast<std::ptrdiff_t>(offset)) + " of shared memory of " +
                 std::to_string(shared_bytes_) + " bytes");
    shared_access(access, offset, bytes);
    statistics_.add(current->number / kLanes, current->lane, true, address, bytes, site);
  } else if (is_device_address(reinterpret_cast<const void*>(address))) {
    device_access(access, address, bytes);
    statistics_.add(current->number / kLanes, current->lane, false, address, bytes, site);
  } else if (address < kNullPage) {
    report(access, bytes, "at a null pointer");
  }
}

void Watch::shared_access(Access access, std::size_t offset, std::size_t bytes) {
  const auto at = [&] { return "at offset " + std::to_string(offset) + " of shared memory"; };
  const Moment moment = now();
  for (std::size_t i = offset; i < offset + bytes; ++i) {
    SharedByte& byte = bytes_[i];
    if (access != Access::write && byte.writes[0].thread == kNobody)
      report(access, bytes, at() + " that nobody has written");
    if (byte.copying)
      report(access, bytes,
             at() + " that a copy of thread " + to_string(block_.thread(byte.writes[0].thread).index) +
                 " is under way to");
    const bool both_atomic = access == Access::atomic && byte.by_atomic;
    for (const Moment& write : byte.writes) {
      if (!both_atomic && !before(write)) report_race(access, bytes, at(), write, " has written them");
    }
    if (access == Access::read) {
      remember(byte.reads, moment);
      continue;
    }
    for (const Moment& read : byte.reads) {
      if (!before(read)) report_race(access, bytes, at(), read, " has read them");
    }
    if (!both_atomic) byte.writes = {};
    remember(byte.writes, moment);
    byte.by_atomic = access == Access::atomic;
  }
}

// Adds this moment. One that comes before it need not be kept: what comes after this one comes after that
// too. Of others two are kept, of different warps where there are.
void Watch::remember(std::array<Moment, 2>& kept, const Moment& moment) {
  for (Moment& earlier : kept) {
    if (before(earlier)) {
      earlier = moment;
      return;
    }
  }
  const bool like_first = kept[0].thread / kLanes == moment.thread / kLanes;
  const bool like_second = kept[1].thread / kLanes == moment.thread / kLanes;
  kept[like_first && !like_second ? 0 : 1] = moment;
}

void Watch::device_access(Access access, std::uintptr_t address, std::size_t bytes) {
  if (last_allocation_ >= allocations_.size() ||
      address - allocations_[last_allocation_].begin >= allocations_[last_allocation_].bytes) {
    const auto after = std::ranges::upper_bound(allocations_, address, {}, &Allocation::begin);
    if (after != allocations_.end() && after->begin - address <= kNear)
      report(access, bytes,
             std::to_string(after->begin - address) + " bytes before an allocation of " +
                 std::to_string(after->bytes) + " bytes of device memory");
    if (after == allocations_.begin()) report(access, bytes, "of device memory that is not allocated");
    last_allocation_ = static_cast<std::size_t>(after - allocations_.begin()) - 1;
  }
  const Allocation& allocation = allocations_[last_allocation_];
  const std::size_t offset = address - allocation.begin;
  if (offset >= allocation.bytes + kNear) report(access, bytes, "of device memory that is not allocated");
  if (offset >= allocation.bytes || bytes > allocation.bytes - offset)
    report(access, bytes,
           "at offset " + std::to_string(offset) + " of an allocation of " +
               std::to_string(allocation.bytes) + " bytes of device memory");
  if (access == Access::atomic) return;
  const auto at = [&] {
    return "at offset " + std::to_string(offset) + " of an allocation of " +
           std::to_string(allocation.bytes) + " bytes of device memory";
  };
  const Moment moment = now();
  WrittenPage* page = nullptr;
  for (std::uintptr_t i = address; i < address + bytes; ++i) {
    if (i == address || i % kPageBytes == 0) page = written_page(i / kPageBytes, access == Access::write);
    if (page == nullptr) continue;
    Moment& write = (*page)[i % kPageBytes];
    if (!before(write)) report_race(access, bytes, at(), write, " has written them");
    if (access == Access::write) write = moment;
  }
  if (access == Access::write) claim(address, bytes, at);
}

// Of the bytes that this block has written; null where it has written none of the page and is not to.
Watch::WrittenPage* Watch::written_page(std::uintptr_t number, bool make) {
  const auto found = written_.find(number);
  if (found != written_.end()) return &found->second;
  return make ? &written_[number] : nullptr;
}

// No other block may write the bytes in the same launch.
template <typename At>
void Watch::claim(std::uintptr_t address, std::size_t bytes, const At& at) {
  if (writers() == nullptr) return;
  const std::uint64_t me = static_cast<std::uint64_t>(launch_) << 32U | block_.number();
  for (std::size_t i = 0; i < bytes; ++i) {
    const std::uint64_t other = writers()[device_offset(address) + i].exchange(me, std::memory_order_relaxed);
    if (other != me && other >> 32U == launch_)
      report(Access::write, bytes,
             at() + ", which block number " + std::to_string(other & 0xFFFFFFFFU) +
                 " has written in the same launch");
  }
}

void Watch::copy_begins(std::uintptr_t address, std::size_t bytes, const void* site) {
  access(Access::write, address, bytes, site);
  for (std::size_t i = 0; i < bytes; ++i) bytes_[address - shared_ + i].copying = true;
}

void Watch::copy_ends(std::uintptr_t address, std::size_t bytes) {
  for (std::size_t i = 0; i < bytes; ++i) {
    SharedByte& byte = bytes_[address - shared_ + i];
    byte.copying = false;
    byte.writes = {now()};
  }
}

}  // namespace spqr::emulation
