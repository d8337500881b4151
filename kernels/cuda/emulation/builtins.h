// Keywords and built-in functions of CUDA C++ that kernels of this project may use, with the meaning that the
// CUDA C++ programming guide gives them.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "kernels/cuda/emulation/thread.h"
#include "kernels/cuda/emulation/vector_types.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))

#define threadIdx (::spqr::emulation::current->index)
#define blockIdx (::spqr::emulation::current->block)
#define blockDim (::spqr::emulation::current->block_shape)
#define gridDim (::spqr::emulation::current->grid_shape)

namespace spqr::emulation {

// A lane's part of a shuffle: it gives `value` and gets that of lane `source`.
struct Shuffled {
  std::uint64_t value;
  unsigned source;
};
extern const Collective kShuffle, kShuffleUp, kShuffleDown, kShuffleXor;

// A lane's part of a vote: it gives a predicate and gets the lanes whose predicate holds.
struct Vote {
  bool predicate;
  unsigned ballot;
};
extern const Collective kBallot, kAny, kAll, kSyncWarp;

// Orders what the thread does to memory before it and after it, for all that see both.
void fence();

template <typename T>
T shuffle(const Collective& kind, unsigned mask, T value, unsigned source, Place where) {
  static_assert(std::is_arithmetic_v<T> && sizeof(T) >= 4 && sizeof(T) <= 8, "what CUDA's shuffles take");
  Shuffled mine{0, source};
  std::memcpy(&mine.value, &value, sizeof(T));
  collective(kind, mask, &mine, where);
  std::memcpy(&value, &mine.value, sizeof(T));
  return value;
}

inline unsigned vote(const Collective& kind, unsigned mask, int predicate, Place where) {
  Vote mine{predicate != 0, 0};
  collective(kind, mask, &mine, where);
  return mine.ballot;
}

// First and last lane of the current lane's part of a warp that is cut into parts of `width` lanes.
inline unsigned first_lane(int width) {
  return current->lane & ~(static_cast<unsigned>(width) - 1);
}
inline unsigned last_lane(int width) {
  return first_lane(width) + static_cast<unsigned>(width) - 1;
}

}  // namespace spqr::emulation

template <typename T>
T __shfl_sync(unsigned mask, T value, int source, int width = spqr::emulation::kLanes,
              spqr::emulation::Place where = {__builtin_FILE(), __builtin_LINE()}) {
  const unsigned from = spqr::emulation::first_lane(width) +
                        (static_cast<unsigned>(source) & (static_cast<unsigned>(width) - 1));
  return spqr::emulation::shuffle(spqr::emulation::kShuffle, mask, value, from, where);
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = spqr::emulation::kLanes,
                 spqr::emulation::Place where = {__builtin_FILE(), __builtin_LINE()}) {
  const unsigned lane = spqr::emulation::current->lane;
  const unsigned from = lane >= spqr::emulation::first_lane(width) + delta ? lane - delta : lane;
  return spqr::emulation::shuffle(spqr::emulation::kShuffleUp, mask, value, from, where);
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = spqr::emulation::kLanes,
                   spqr::emulation::Place where = {__builtin_FILE(), __builtin_LINE()}) {
  const unsigned lane = spqr::emulation::current->lane;
  const unsigned from = lane + delta <= spqr::emulation::last_lane(width) ? lane + delta : lane;
  return spqr::emulation::shuffle(spqr::emulation::kShuffleDown, mask, value, from, where);
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = spqr::emulation::kLanes,
                  spqr::emulation::Place where = {__builtin_FILE(), __builtin_LINE()}) {
  const unsigned lane = spqr::emulation::current->lane;
  const unsigned other = lane ^ static_cast<unsigned>(lanes);
  const unsigned from = other <= spqr::emulation::last_lane(width) ? other : lane;
  return spqr::emulation::shuffle(spqr::emulation::kShuffleXor, mask, value, from, where);
}

inline unsigned __ballot_sync(unsigned mask, int predicate,
                              spqr::emulation::Place where = {__builtin_FILE(), __builtin_LINE()}) {
  return spqr::emulation::vote(spqr::emulation::kBallot, mask, predicate, where);
}
inline int __any_sync(unsigned mask, int predicate,
                      spqr::emulation::Place where = {__builtin_FILE(), __builtin_LINE()}) {
  return spqr::emulation::vote(spqr::emulation::kAny, mask, predicate, where) != 0;
}
inline int __all_sync(unsigned mask, int predicate,
                      spqr::emulation::Place where = {__builtin_FILE(), __builtin_LINE()}) {
  return spqr::emulation::vote(spqr::emulation::kAll, mask, predicate, where) == mask;
}
// Lanes are only guaranteed to be together where they have waited for each other: here each is alone.
inline unsigned __activemask() {
  return 1U << spqr::emulation::current->lane;
}

inline void __syncwarp(unsigned mask = 0xFFFFFFFFU,
                       spqr::emulation::Place where = {__builtin_FILE(), __builtin_LINE()}) {
  spqr::emulation::collective(spqr::emulation::kSyncWarp, mask, nullptr, where);
}
inline void __syncthreads(spqr::emulation::Place where = {__builtin_FILE(), __builtin_LINE()}) {
  spqr::emulation::barrier(where);
}
inline void __threadfence() {
  spqr::emulation::fence();
}
inline void __threadfence_block() {}

namespace spqr::emulation {
// *address = change(*address) at once; returns what was there.
std::uint32_t atomic_add(std::uint32_t* address, std::uint32_t value);
std::uint32_t atomic_exchange(std::uint32_t* address, std::uint32_t value);
std::uint32_t atomic_compare_and_swap(std::uint32_t* address, std::uint32_t expected, std::uint32_t value);
std::uint32_t atomic_max(std::uint32_t* address, std::uint32_t value);
std::int32_t atomic_max(std::int32_t* address, std::int32_t value);
}  // namespace spqr::emulation

inline unsigned atomicAdd(unsigned* address, unsigned value) {
  return spqr::emulation::atomic_add(address, value);
}
inline int atomicAdd(int* address, int value) {
  return static_cast<int>(
      spqr::emulation::atomic_add(reinterpret_cast<unsigned*>(address), static_cast<unsigned>(value)));
}
inline unsigned atomicMax(unsigned* address, unsigned value) {
  return spqr::emulation::atomic_max(address, value);
}
inline int atomicMax(int* address, int value) {
  return spqr::emulation::atomic_max(address, value);
}
inline unsigned atomicExch(unsigned* address, unsigned value) {
  return spqr::emulation::atomic_exchange(address, value);
}
inline int atomicExch(int* address, int value) {
  return static_cast<int>(
      spqr::emulation::atomic_exchange(reinterpret_cast<unsigned*>(address), static_cast<unsigned>(value)));
}
inline unsigned atomicCAS(unsigned* address, unsigned expected, unsigned value) {
  return spqr::emulation::atomic_compare_and_swap(address, expected, value);
}
inline int atomicCAS(int* address, int expected, int value) {
  return static_cast<int>(spqr::emulation::atomic_compare_and_swap(
      reinterpret_cast<unsigned*>(address), static_cast<unsigned>(expected), static_cast<unsigned>(value)));
}

namespace spqr::emulation {
inline float reciprocal_square_root(float x) {
  return 1.0F / std::sqrt(x);
}
}  // namespace spqr::emulation
// A macro, as some C libraries have a function of this name.
#define rsqrtf(x) (::spqr::emulation::reciprocal_square_root(x))
inline unsigned __float_as_uint(float x) {
  return std::bit_cast<unsigned>(x);
}
inline float __uint_as_float(unsigned x) {
  return std::bit_cast<float>(x);
}
inline int __float_as_int(float x) {
  return std::bit_cast<int>(x);
}
inline float __int_as_float(int x) {
  return std::bit_cast<float>(x);
}
inline int __popc(unsigned x) {
  return std::popcount(x);
}
inline int __clz(int x) {
  return std::countl_zero(static_cast<unsigned>(x));
}
inline int __ffs(int x) {
  return x == 0 ? 0 : std::countr_zero(static_cast<unsigned>(x)) + 1;
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
  return static_cast<unsigned>(((static_cast<std::uint64_t>(high) << 32U) | low) >> (shift & 31U));
}
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
  return static_cast<unsigned>((((static_cast<std::uint64_t>(high) << 32U) | low) << (shift & 31U)) >> 32U);
}
template <typename T>
T __ldg(const T* address) {
  return *address;
}

// CUDA's min and max of two numbers of any kind, after the usual conversions.
template <typename A, typename B,
          typename = std::enable_if_t<std::is_arithmetic_v<A> && std::is_arithmetic_v<B>>>
constexpr auto min(A a, B b) {
  using Common = std::common_type_t<A, B>;
  if constexpr (std::is_floating_point_v<Common>) {
    return static_cast<Common>(std::fmin(a, b));
  } else {
    return static_cast<Common>(a) < static_cast<Common>(b) ? static_cast<Common>(a) : static_cast<Common>(b);
  }
}
template <typename A, typename B,
          typename = std::enable_if_t<std::is_arithmetic_v<A> && std::is_arithmetic_v<B>>>
constexpr auto max(A a, B b) {
  using Common = std::common_type_t<A, B>;
  if constexpr (std::is_floating_point_v<Common>) {
    return static_cast<Common>(std::fmax(a, b));
  } else {
    return static_cast<Common>(a) < static_cast<Common>(b) ? static_cast<Common>(b) : static_cast<Common>(a);
  }
}
