// Kernels of one instruction each (device/instructions.cuh), for cuda_instructions_test.cpp: element i of
// every array is what thread i, or lane i of a warp, gives and gets.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/gpu.h"

namespace spqr::cuda {

void widen(const Gpu& gpu, float* out, const std::uint16_t* in, std::size_t count);
void narrow(const Gpu& gpu, std::uint16_t* out, const float* in, std::size_t count);
// out[i]: f32x2_to_f16x2 of in[2 i], in[2 i + 1]; back[2 i], back[2 i + 1]: its halves.
void narrow_pairs(const Gpu& gpu, std::uint32_t* out, float* back, const float* in, std::size_t count);

// Of three registers a, b, c per thread.
enum class Ternary : std::uint8_t { f16x2_fma, f16x2_subtract, and_or, permute_bytes, dot4 };
void ternary(const Gpu& gpu, Ternary what, std::uint32_t* out, const std::uint32_t* abc, std::size_t count);

// One warp. a: depth / 4 registers of each lane, b: depth / 8, d: 4 in and out.
void mma(const Gpu& gpu, int depth, float* d, const std::uint32_t* a, const std::uint32_t* b);

// One warp: copies 32 rows of 8 halves to shared memory, rows `stride` halves apart; lane l gives row
// order[l]. out: 4 registers of each lane.
void load_matrices(const Gpu& gpu, std::uint32_t* out, const std::uint16_t* rows, const std::uint32_t* order,
                   int stride);

// out[i] = 16 bytes in[i], or zeros where i >= valid, through shared memory, in two groups of copies that are
// waited for one after the other.
void copy_async(const Gpu& gpu, uint4* out, const uint4* in, std::size_t count, std::size_t valid);
// out[i] = in[i] with load_stream.
void copy_stream(const Gpu& gpu, uint4* out, const uint4* in, std::size_t count);

}  // namespace spqr::cuda
