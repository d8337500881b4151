// What lanes of a warp do together, and atomics.
#include <atomic>
#include <bit>

#include "kernels/cuda/emulation/builtins.h"
#include "kernels/cuda/emulation/watch.h"

namespace spqr::emulation {
namespace {

template <typename Body>
void for_each_lane(unsigned mask, const Body& body) {
  for (unsigned lanes = mask; lanes != 0; lanes &= lanes - 1)
    body(static_cast<unsigned>(std::countr_zero(lanes)));
}

void run_shuffle(void* const payloads[kLanes], unsigned mask) {
  std::uint64_t values[kLanes];
  for_each_lane(mask, [&](unsigned lane) {
    const unsigned source = static_cast<Shuffled*>(payloads[lane])->source;
    if ((mask >> source & 1U) == 0) fail("a shuffle reads a lane that its mask does not name");
    values[lane] = static_cast<Shuffled*>(payloads[source])->value;
  });
  for_each_lane(mask, [&](unsigned lane) { static_cast<Shuffled*>(payloads[lane])->value = values[lane]; });
}

void run_vote(void* const payloads[kLanes], unsigned mask) {
  unsigned ballot = 0;
  for_each_lane(mask, [&](unsigned lane) {
    if (static_cast<Vote*>(payloads[lane])->predicate) ballot |= 1U << lane;
  });
  for_each_lane(mask, [&](unsigned lane) { static_cast<Vote*>(payloads[lane])->ballot = ballot; });
}

void run_nothing(void* const[kLanes], unsigned) {}

}  // namespace

const Collective kShuffle{"__shfl_sync", run_shuffle};
const Collective kShuffleUp{"__shfl_up_sync", run_shuffle};
const Collective kShuffleDown{"__shfl_down_sync", run_shuffle};
const Collective kShuffleXor{"__shfl_xor_sync", run_shuffle};
const Collective kBallot{"__ballot_sync", run_vote};
const Collective kAny{"__any_sync", run_vote};
const Collective kAll{"__all_sync", run_vote};
const Collective kSyncWarp{"__syncwarp", run_nothing};

void fence() {
  std::atomic_thread_fence(std::memory_order_seq_cst);
}

namespace {

template <typename T>
std::atomic_ref<T> watched_atomic(T* address, const void* site) {
  watch(Access::atomic, address, sizeof(T), site);
  return std::atomic_ref(*address);
}

template <typename T>
T raise(T* address, T value, const void* site) {
  const std::atomic_ref<T> shared = watched_atomic(address, site);
  T seen = shared.load();
  while (seen < value && !shared.compare_exchange_weak(seen, value)) {
  }
  return seen;
}

}  // namespace

std::uint32_t atomic_add(std::uint32_t* address, std::uint32_t value) {
  return watched_atomic(address, __builtin_return_address(0)).fetch_add(value);
}
std::uint32_t atomic_exchange(std::uint32_t* address, std::uint32_t value) {
  return watched_atomic(address, __builtin_return_address(0)).exchange(value);
}
std::uint32_t atomic_compare_and_swap(std::uint32_t* address, std::uint32_t expected, std::uint32_t value) {
  watched_atomic(address, __builtin_return_address(0)).compare_exchange_strong(expected, value);
  return expected;
}
std::uint32_t atomic_max(std::uint32_t* address, std::uint32_t value) {
  return raise(address, value, __builtin_return_address(0));
}
std::int32_t atomic_max(std::int32_t* address, std::int32_t value) {
  return raise(address, value, __builtin_return_address(0));
}

}  // namespace spqr::emulation
