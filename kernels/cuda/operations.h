// Launchers of the operations of kernels/backend.h on a GPU, one file each; shapes are those of backend.h.
// All pointers are of device memory unless a comment says otherwise; norms, weights and ropes have been
// placed; `scratch` is as large as scratch_sizes.h says. Launchers queue work in gpu.stream and return. None
// uses atomics on floats: the same arguments give the same bits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/backend.h"
#include "kernels/cuda/gpu.h"

namespace spqr::cuda {

// x[t] = table[ids[t]]; the table is dense, or packed in the device's layout.
void embed(const Gpu& gpu, Matrix x, const Linear& table, const std::int32_t* ids);

void rms_norm(const Gpu& gpu, Matrix y, Matrix x, const Norm& norm);
void layer_norm(const Gpu& gpu, Matrix y, Matrix x, const Norm& norm);

void rope_append(const Gpu& gpu, Matrix q, Matrix k, Matrix v, const Rope& rope, const KvLayer& cache,
                 Position first);

// The last token sees at most `visible` rows of the cache, which is the upper bound that the work is split
// by: where first.base is null it is first.offset + tokens.
void attention(const Gpu& gpu, Matrix out, Matrix q, const KvLayer& cache, Position first,
               std::int64_t visible, const AttentionShape& shape, void* scratch);

void swiglu(const Gpu& gpu, Matrix h, Matrix gate, Matrix up);
void gelu(const Gpu& gpu, Matrix h, Matrix x);

// Whether a product replaces y or is added to it.
enum class Store : std::uint8_t { replace, add };

// y (+)= W x + b for a dense weight, in f32.
void dense_linear(const Gpu& gpu, Matrix y, const Linear& weight, Matrix x, Store store);

// y (+)= W x' + b for a packed weight in the device's layout (spqr_device_layout.h), x'[t][j] =
// x[t][perm[j]]; perm may be empty. Few tokens: spqr_matvec; more: spqr_matmul.
void spqr_linear(const Gpu& gpu, Matrix y, const Linear& weight, std::span<const std::uint32_t> perm,
                 Matrix x, Store store, ActivationType activations, void* scratch);

// The `count` largest of logits (1, n), largest first, of equal ones the one with the smaller id; NaN counts
// as larger than all. ids (count), values (count). 1 <= count <= min(n, Backend::kMostCandidates).
void largest(const Gpu& gpu, std::int32_t* ids, float* values, Matrix logits, std::int64_t count,
             void* scratch);

}  // namespace spqr::cuda
