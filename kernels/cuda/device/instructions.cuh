// Instructions that C++ has no name for, one function each: PTX on a device, and in the emulation what the
// PTX ISA says of them (fragment layouts: PTX ISA, "Warp-level matrix instructions"). Half precision numbers
// are their bits: std::uint16_t, and two of them in a std::uint32_t, the first in the low half.
#pragma once

#include <cstdint>

#include "kernels/cuda/cuda_api.h"

namespace spqr::cuda {

struct Fragment4 {
  std::uint32_t r[4];
};
struct Accumulator4 {
  float c[4];
};

// f16 <-> f32, rounded to the nearest even; two at once: `low` is the low half.
__device__ float f16_to_f32(std::uint16_t bits);
__device__ std::uint16_t f32_to_f16(float value);
__device__ std::uint32_t f32x2_to_f16x2(float low, float high);
__device__ float f16x2_low(std::uint32_t pair);
__device__ float f16x2_high(std::uint32_t pair);

// a b + c, half by half, rounded once.
__device__ std::uint32_t f16x2_fma(std::uint32_t a, std::uint32_t b, std::uint32_t c);
__device__ std::uint32_t f16x2_subtract(std::uint32_t a, std::uint32_t b);

// (a & b) | c in one instruction.   lop3.b32, truth table 0xEA
__device__ std::uint32_t and_or(std::uint32_t a, std::uint32_t b, std::uint32_t c);
// Bytes of {b, a} chosen by the nibbles of selector.   prmt.b32
__device__ std::uint32_t permute_bytes(std::uint32_t a, std::uint32_t b, std::uint32_t selector);
// c + sum of the products of four signed bytes.   dp4a
__device__ std::int32_t dot4(std::int32_t a, std::int32_t b, std::int32_t c);

// d = a b + d for a whole warp: mma.sync.aligned.m16n8k8 (sm_75) and m16n8k16 (sm_80),
// .row.col.f32.f16.f16.f32.
//   g = lane / 4, t = lane % 4.
//   a: row-major 16 x K. Register 0: (row g, columns 2 t, 2 t + 1), 1: (g + 8, the same), 2 and 3 (K = 16):
//   the same rows,
//      columns 2 t + 8, 2 t + 9.   b: K x 8. Register 0: (rows 2 t, 2 t + 1; column g), 1 (K = 16): rows 2 t
//      + 8, 2 t + 9.
//   d: 16 x 8. c[0], c[1]: (row g, columns 2 t, 2 t + 1), c[2], c[3]: row g + 8.
// mma_k16 below sm_80 is two of m16n8k8.
__device__ void mma_k8(Accumulator4& d, std::uint32_t a0, std::uint32_t a1, std::uint32_t b0);
__device__ void mma_k16(Accumulator4& d, const Fragment4& a, std::uint32_t b0, std::uint32_t b1);

// Four 8 x 8 matrices of halves: lane l gives the address of row l % 8 of matrix l / 8 in shared memory,
// 16-byte aligned; register i of lane l is columns 2 (l % 4), 2 (l % 4) + 1 of row l / 4 of matrix i.
// ldmatrix.sync.aligned.m8n8.x4
__device__ Fragment4 load_matrices(const void* row);

// 16 bytes from global to shared memory, both 16-byte aligned; zeros where `valid` is false.   cp.async.cg
// (sm_80); below, a load and a store. copy_commit() closes a group of copies, copy_wait<N>() waits until at
// most N groups of this thread are under way.
__device__ void copy_async_16(void* shared, const void* global, bool valid);
__device__ void copy_commit();
template <int kPending>
__device__ void copy_wait();

// 16 bytes that are read once: no line of the L1 cache is kept for them.   ld.global.nc.L1::no_allocate.v4
__device__ uint4 load_stream(const uint4* global);

}  // namespace spqr::cuda

#if defined(SPQR_CUDA_EMULATED)
#include "kernels/cuda/device/instructions_emulated.inl"
#else
#include "kernels/cuda/device/instructions_ptx.inl"
#endif
