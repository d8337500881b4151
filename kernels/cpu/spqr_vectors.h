// Vectors of 8 lanes in the compiler's own vector types: the same source for every instruction set. For files
// that are compiled once per instruction set, hence the anonymous namespace.
#pragma once

#include <cstdint>
#include <cstring>

namespace spqr {
namespace {

constexpr int kLanes = 8;
typedef float f32x8 __attribute__((vector_size(32)));
typedef std::uint32_t u32x8 __attribute__((vector_size(32)));
typedef std::int32_t i32x8 __attribute__((vector_size(32)));
typedef std::uint8_t u8x8 __attribute__((vector_size(8)));
typedef std::int8_t i8x8 __attribute__((vector_size(8)));
typedef std::uint64_t u64x4 __attribute__((vector_size(32)));
typedef std::uint16_t u16x8 __attribute__((vector_size(16)));

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

inline f32x8 to_f32(u32x8 v) {
  return __builtin_convertvector(reinterpret_cast<i32x8>(v), f32x8);
}
inline f32x8 broadcast(float x) {
  return f32x8{x, x, x, x, x, x, x, x};
}

}  // namespace
}  // namespace spqr
