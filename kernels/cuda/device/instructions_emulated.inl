// Bodies of instructions.cuh for the emulation.
#pragma once

#include <bit>

#include "kernels/cuda/emulation/half.h"
#include "kernels/cuda/emulation/instructions.h"

namespace spqr::cuda {

inline float f16_to_f32(std::uint16_t bits) {
  return emulation::f16_to_f32(bits);
}
inline std::uint16_t f32_to_f16(float value) {
  return emulation::f32_to_f16(value);
}
inline float f16x2_low(std::uint32_t pair) {
  return f16_to_f32(static_cast<std::uint16_t>(pair & 0xFFFFU));
}
inline float f16x2_high(std::uint32_t pair) {
  return f16_to_f32(static_cast<std::uint16_t>(pair >> 16U));
}
inline std::uint32_t f32x2_to_f16x2(float low, float high) {
  return static_cast<std::uint32_t>(f32_to_f16(low)) | static_cast<std::uint32_t>(f32_to_f16(high)) << 16U;
}

// The product is exact in double, and so close to exact is the sum that rounding it to f16 is rounding once.
inline std::uint32_t f16x2_fma(std::uint32_t a, std::uint32_t b, std::uint32_t c) {
  const double low = static_cast<double>(f16x2_low(a)) * f16x2_low(b) + f16x2_low(c);
  const double high = static_cast<double>(f16x2_high(a)) * f16x2_high(b) + f16x2_high(c);
  return static_cast<std::uint32_t>(emulation::f64_to_f16(low)) |
         static_cast<std::uint32_t>(emulation::f64_to_f16(high)) << 16U;
}
// f32 has more than twice the bits of f16, and two more: rounding to it first changes nothing.
inline std::uint32_t f16x2_subtract(std::uint32_t a, std::uint32_t b) {
  return f32x2_to_f16x2(f16x2_low(a) - f16x2_low(b), f16x2_high(a) - f16x2_high(b));
}

inline std::uint32_t and_or(std::uint32_t a, std::uint32_t b, std::uint32_t c) {
  return (a & b) | c;
}

// A nibble's low three bits choose a byte, its high bit asks for copies of that byte's sign.
inline std::uint32_t permute_bytes(std::uint32_t a, std::uint32_t b, std::uint32_t selector) {
  const std::uint64_t bytes = static_cast<std::uint64_t>(b) << 32U | a;
  std::uint32_t result = 0;
  for (unsigned i = 0; i < 4; ++i) {
    const std::uint32_t choice = selector >> 4 * i & 0xFU;
    std::uint32_t byte = static_cast<std::uint32_t>(bytes >> 8 * (choice & 7U)) & 0xFFU;
    if ((choice & 8U) != 0) byte = (byte & 0x80U) != 0 ? 0xFFU : 0;
    result |= byte << 8 * i;
  }
  return result;
}

inline std::int32_t dot4(std::int32_t a, std::int32_t b, std::int32_t c) {
  std::int32_t sum = 0;
  for (unsigned i = 0; i < 4; ++i)
    sum += static_cast<std::int8_t>(a >> 8 * i) * static_cast<std::int8_t>(b >> 8 * i);
  return static_cast<std::int32_t>(static_cast<std::uint32_t>(c) + static_cast<std::uint32_t>(sum));
}

inline void mma_k8(Accumulator4& d, std::uint32_t a0, std::uint32_t a1, std::uint32_t b0) {
  const std::uint32_t a[2] = {a0, a1};
  emulation::mma_k8(d.c, a, b0);
}
inline void mma_k16(Accumulator4& d, const Fragment4& a, std::uint32_t b0, std::uint32_t b1) {
  const std::uint32_t b[2] = {b0, b1};
  emulation::mma_k16(d.c, a.r, b);
}
inline Fragment4 load_matrices(const void* row) {
  Fragment4 fragment;
  emulation::load_matrices(fragment.r, row);
  return fragment;
}

inline void copy_async_16(void* shared, const void* global, bool valid) {
  emulation::copy_async_16(shared, valid ? global : nullptr);
}
inline void copy_commit() {
  emulation::copy_commit();
}
template <int kPending>
void copy_wait() {
  emulation::copy_wait(kPending);
}

inline uint4 load_stream(const uint4* global) {
  return emulation::load_16(global);
}

}  // namespace spqr::cuda
