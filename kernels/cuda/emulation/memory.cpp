#include "kernels/cuda/emulation/memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <stdexcept>
#include <utility>

#include "kernels/cuda/emulation/emulation.h"
#include "kernels/cuda/emulation/watch.h"

namespace spqr::emulation {
namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kAlignment = 256;
constexpr std::size_t kRedZone = 256;  // at least, before and after an allocation
constexpr std::byte kRedZoneByte{0xC3};
constexpr std::byte kUninitialized{0xFF};  // NaN as f16 and as f32

constexpr std::size_t round_up(std::size_t bytes, std::size_t to) {
  return (bytes + to - 1) / to * to;
}
// Pages of an allocation, its red zones among them; an inaccessible one follows.
std::size_t accessible_bytes(std::size_t bytes) {
  return round_up(kRedZone + bytes + kRedZone, kPage);
}

std::size_t limit_at_first() {
  const char* text = std::getenv("SPQR_EMULATED_DEVICE_MEMORY");
  constexpr std::size_t kDefault = std::size_t{24} << 30U;
  return text == nullptr ? kDefault : parse_bytes(text).value_or(kDefault);
}

bool strict_at_first() {
  const char* text = std::getenv("SPQR_EMULATED_STRICT");
  return watched() || (text != nullptr && std::strcmp(text, "1") == 0);
}

struct Memory {
  std::mutex mutex;
  std::atomic<std::byte*> range{nullptr};
  std::size_t cursor = 0;  // offset in the range where the search for space begins
  std::map<std::uintptr_t, std::size_t> allocations;
  std::map<std::uintptr_t, std::size_t> pinned;
  std::size_t limit = limit_at_first();
  std::size_t in_use = 0;
  std::size_t high_water_mark = 0;
  bool strict = strict_at_first();
  int users = 0;  // DeviceAccess that there are
};
Memory& memory() {
  static Memory& it = *new Memory;  // never destroyed: memory may be freed by destructors of static objects
  return it;
}

// "3 bytes past the end of an allocation of 40 bytes have been written", or empty.
std::string damage_of(std::uintptr_t begin, std::size_t bytes) {
  const auto damaged = [](std::byte b) { return b != kRedZoneByte; };
  const auto* data = reinterpret_cast<const std::byte*>(begin);
  const std::byte* before = std::find_if(data - kRedZone, data, damaged);
  const std::byte* end = data - kRedZone + accessible_bytes(bytes);
  const std::byte* after = std::find_if(data + bytes, end, damaged);
  const std::string of = " an allocation of " + std::to_string(bytes) + " bytes has been written";
  if (after != end) return "byte " + std::to_string(after - (data + bytes)) + " past" + of;
  if (before != data) return "byte " + std::to_string(data - before) + " before" + of;
  return {};
}

void fill_red_zones(std::uintptr_t begin, std::size_t bytes) {
  auto* data = reinterpret_cast<std::byte*>(begin);
  std::memset(data - kRedZone, static_cast<int>(kRedZoneByte), kRedZone);
  std::memset(data + bytes, static_cast<int>(kRedZoneByte), accessible_bytes(bytes) - kRedZone - bytes);
}

void protect(std::uintptr_t begin, std::size_t bytes, int protection) {
  mprotect(reinterpret_cast<void*>(begin - kRedZone), accessible_bytes(bytes), protection);
}
void protect_all(const Memory& m, int protection) {
  for (const auto& [begin, bytes] : m.allocations) protect(begin, bytes, protection);
}
constexpr int kAccessible = PROT_READ | PROT_WRITE;

// Offset of `bytes` bytes of the range that no allocation uses; the search goes on where the last one ended.
std::optional<std::size_t> find_space(const Memory& m, std::size_t bytes) {
  for (std::size_t at : {m.cursor, std::size_t{0}}) {
    auto next = m.allocations.lower_bound(reinterpret_cast<std::uintptr_t>(m.range.load()) + at);
    for (; at + bytes <= kDeviceRange; ++next) {
      if (next == m.allocations.end()) return at;
      const std::size_t begin = next->first - kRedZone - reinterpret_cast<std::uintptr_t>(m.range.load());
      if (begin >= at + bytes) return at;
      at = begin + accessible_bytes(next->second) + kPage;
    }
  }
  return std::nullopt;
}

std::optional<Allocation> find(const std::map<std::uintptr_t, std::size_t>& in, const void* pointer) {
  const auto address = reinterpret_cast<std::uintptr_t>(pointer);
  auto after = in.upper_bound(address);
  if (after == in.begin()) return std::nullopt;
  --after;
  if (address - after->first >= after->second) return std::nullopt;
  return Allocation{after->first, after->second};
}

}  // namespace

cudaError_t allocate(void** pointer, std::size_t bytes) {
  if (pointer == nullptr) return cudaErrorInvalidValue;
  *pointer = nullptr;
  if (bytes == 0) return cudaSuccess;
  Memory& m = memory();
  const std::scoped_lock lock(m.mutex);
  if (bytes > m.limit || round_up(bytes, kAlignment) > m.limit - std::min(m.limit, m.in_use))
    return cudaErrorMemoryAllocation;
  if (m.range == nullptr) {
    void* range = mmap(nullptr, kDeviceRange, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (range == MAP_FAILED) return cudaErrorInitializationError;
    m.range = static_cast<std::byte*>(range);
  }
  const std::size_t accessible = accessible_bytes(bytes);
  const std::optional<std::size_t> offset = find_space(m, accessible + kPage);
  if (!offset || mprotect(m.range + *offset, accessible, kAccessible) != 0) return cudaErrorMemoryAllocation;
  m.cursor = *offset + accessible + kPage;
  std::byte* data = m.range + *offset + kRedZone;
  std::memset(data, static_cast<int>(kUninitialized), bytes);
  fill_red_zones(reinterpret_cast<std::uintptr_t>(data), bytes);
  m.allocations.emplace(reinterpret_cast<std::uintptr_t>(data), bytes);
  if (m.strict && m.users == 0) protect(reinterpret_cast<std::uintptr_t>(data), bytes, PROT_NONE);
  m.in_use += round_up(bytes, kAlignment);
  m.high_water_mark = std::max(m.high_water_mark, m.in_use);
  *pointer = data;
  return cudaSuccess;
}

cudaError_t release(void* pointer) {
  if (pointer == nullptr) return cudaSuccess;
  Memory& m = memory();
  const std::scoped_lock lock(m.mutex);
  const auto found = m.allocations.find(reinterpret_cast<std::uintptr_t>(pointer));
  if (found == m.allocations.end()) return cudaErrorInvalidValue;
  m.in_use -= round_up(found->second, kAlignment);
  // New pages in their place give the memory back.
  mmap(static_cast<std::byte*>(pointer) - kRedZone, accessible_bytes(found->second), PROT_NONE,
       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
  m.allocations.erase(found);
  return cudaSuccess;
}

cudaError_t allocate_pinned(void** pointer, std::size_t bytes) {
  if (pointer == nullptr) return cudaErrorInvalidValue;
  *pointer = nullptr;
  if (bytes == 0) return cudaSuccess;
  *pointer = std::aligned_alloc(kPage, round_up(bytes, kPage));
  if (*pointer == nullptr) return cudaErrorMemoryAllocation;
  Memory& m = memory();
  const std::scoped_lock lock(m.mutex);
  m.pinned.emplace(reinterpret_cast<std::uintptr_t>(*pointer), bytes);
  return cudaSuccess;
}

cudaError_t release_pinned(void* pointer) {
  if (pointer == nullptr) return cudaSuccess;
  Memory& m = memory();
  const std::scoped_lock lock(m.mutex);
  if (m.pinned.erase(reinterpret_cast<std::uintptr_t>(pointer)) == 0) return cudaErrorInvalidValue;
  std::free(pointer);
  return cudaSuccess;
}

std::size_t device_offset(std::uintptr_t address) {
  return address - reinterpret_cast<std::uintptr_t>(memory().range.load(std::memory_order_relaxed));
}
bool is_device_address(const void* pointer) {
  return memory().range.load(std::memory_order_relaxed) != nullptr &&
         device_offset(reinterpret_cast<std::uintptr_t>(pointer)) < kDeviceRange;
}

std::vector<Allocation> allocations() {
  Memory& m = memory();
  const std::scoped_lock lock(m.mutex);
  std::vector<Allocation> all;
  for (const auto& [begin, bytes] : m.allocations) all.push_back({begin, bytes});
  return all;
}

std::optional<Allocation> find_allocation(const void* pointer) {
  Memory& m = memory();
  const std::scoped_lock lock(m.mutex);
  return find(m.allocations, pointer);
}

std::optional<Allocation> find_pinned(const void* pointer) {
  Memory& m = memory();
  const std::scoped_lock lock(m.mutex);
  return find(m.pinned, pointer);
}

DeviceAccess::DeviceAccess() {
  Memory& m = memory();
  const std::scoped_lock lock(m.mutex);
  if (m.users++ == 0 && m.strict) protect_all(m, kAccessible);
}
DeviceAccess::~DeviceAccess() {
  Memory& m = memory();
  const std::scoped_lock lock(m.mutex);
  if (--m.users == 0 && m.strict) protect_all(m, PROT_NONE);
}

void set_strict(bool strict) {
  Memory& m = memory();
  const std::scoped_lock lock(m.mutex);
  m.strict = strict;
  protect_all(m, strict && m.users == 0 ? PROT_NONE : kAccessible);
}
bool strict() {
  const std::scoped_lock lock(memory().mutex);
  return memory().strict;
}

void check_argument(const char* kernel, const void* pointer) {
  if (pointer == nullptr || is_device_address(pointer) || find_pinned(pointer)) return;
  throw std::logic_error(std::string("kernel '") + kernel + "': an argument points to memory of the host");
}

std::size_t memory_limit() {
  const std::scoped_lock lock(memory().mutex);
  return memory().limit;
}
void set_memory_limit(std::size_t bytes) {
  const std::scoped_lock lock(memory().mutex);
  memory().limit = bytes;
}
std::size_t memory_in_use() {
  const std::scoped_lock lock(memory().mutex);
  return memory().in_use;
}
std::size_t memory_high_water_mark() {
  const std::scoped_lock lock(memory().mutex);
  return memory().high_water_mark;
}
void reset_memory_high_water_mark() {
  const std::scoped_lock lock(memory().mutex);
  memory().high_water_mark = memory().in_use;
}

void check_memory(const std::string& doing) {
  Memory& m = memory();
  const std::scoped_lock lock(m.mutex);
  std::string damage;
  for (auto it = m.allocations.begin(); damage.empty() && it != m.allocations.end(); ++it) {
    damage = damage_of(it->first, it->second);
    if (!damage.empty()) fill_red_zones(it->first, it->second);  // reported once
  }
  if (!damage.empty()) throw std::logic_error(doing + damage);
}
void check_memory() {
  const DeviceAccess access;
  check_memory("device memory: ");
}

std::optional<std::size_t> parse_bytes(const std::string& text) {
  std::size_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc()) return std::nullopt;
  const std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
  for (const auto& [name, shift] : {std::pair{"", 0U}, {"KiB", 10U}, {"MiB", 20U}, {"GiB", 30U}}) {
    if (unit == name) return value << shift;
  }
  return std::nullopt;
}

}  // namespace spqr::emulation
