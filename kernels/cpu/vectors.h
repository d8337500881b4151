// Vectors of the compiler's own vector types: the same source for every instruction set. For files that are
// compiled once per instruction set, hence the anonymous namespace. Such a file defines SPQR_LANES, the
// 32-bit lanes of its registers, before it includes anything if they are not 8.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#ifndef SPQR_LANES
#define SPQR_LANES 8
#endif

namespace spqr {
namespace {

constexpr int kLanes = SPQR_LANES;
typedef float f32v __attribute__((vector_size(4 * kLanes)));
typedef std::uint32_t u32v __attribute__((vector_size(4 * kLanes)));
typedef std::int32_t i32v __attribute__((vector_size(4 * kLanes)));
typedef std::uint64_t u64v __attribute__((vector_size(4 * kLanes)));
typedef std::int16_t i16v __attribute__((vector_size(2 * kLanes)));
typedef std::uint16_t u16v __attribute__((vector_size(2 * kLanes)));
typedef std::uint8_t u8v __attribute__((vector_size(kLanes)));
typedef std::int8_t i8v __attribute__((vector_size(kLanes)));

typedef float f32x8 __attribute__((vector_size(32)));
typedef std::uint32_t u32x8 __attribute__((vector_size(32)));

template <typename Vector>
inline Vector load(const void* from) {
  Vector v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

template <typename Vector>
inline void store(void* to, Vector v) {
  std::memcpy(to, &v, sizeof v);
}

inline f32v broadcast(float x) {
  return x - f32v{};
}

// All lanes x.
inline u32v broadcast(std::uint32_t x) {
  return x - u32v{};
}

inline f32v to_f32(u32v v) {
  return __builtin_convertvector(reinterpret_cast<i32v>(v), f32v);
}

inline f32v widen_bf16(u16v v) {
  return std::bit_cast<f32v>(__builtin_convertvector(v, u32v) << 16);
}

}  // namespace
}  // namespace spqr
