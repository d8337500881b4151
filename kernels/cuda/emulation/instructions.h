// Instructions of a warp, and copies that are under way: the parts of device/instructions.cuh that are more
// than a line.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/emulation/vector_types.h"

namespace spqr::emulation {

// d = a b + d for the fragments of m16n8k8 and m16n8k16, .f32.f16.f16.f32, of a whole warp. The products are
// exact and are added to d in f32, k ascending.
void mma_k8(float d[4], const std::uint32_t a[2], std::uint32_t b);
void mma_k16(float d[4], const std::uint32_t a[4], const std::uint32_t b[2]);

// ldmatrix.m8n8.x4: this lane gives a row of 16 bytes and gets its part of four matrices.
void load_matrices(std::uint32_t out[4], const void* row);

// cp.async of 16 bytes: takes effect when the thread waits for it and not before, as late as a device may do
// it. From null: zeros.
void copy_async_16(void* to, const void* from);
void copy_commit();
void copy_wait(int pending);

// 16 bytes that are aligned to 16.
uint4 load_16(const uint4* from);

}  // namespace spqr::emulation
