// GGUF's K-quants: blocks of 256 elements, in sub-blocks whose scales are themselves quantized.
//   Q2_K   16 x 4-bit scales s and minima t, 64 bytes q, f16 d, f16 e
//          16 elements: (d s) q - e t
//   Q3_K   32 bytes of high bits, 64 bytes q, 16 x 6-bit scales s, f16 d
//          16 elements: d (s - 32) (q - 4)
//   Q4_K   f16 d, f16 e, 8 x 6-bit scales s and minima t, 128 bytes q
//          32 elements: (d s) q - e t
//   Q5_K   likewise, with 32 bytes of high bits before q
//   Q6_K   128 bytes of low bits, 64 bytes of high bits, 16 x i8 scales s, f16 d
//          16 elements: (d s) (q - 32)
// Source of the block formats: ggml (ggml-quants.h) and gguf-py's quants.py, whose order of operations this
// has, so that results are equal to the last bit.
#pragma once

#include <cstddef>
#include <cstdint>

namespace spqr {

inline constexpr std::int64_t kSuperBlock = 256;  // elements

// in: whole blocks, at any address. out: kSuperBlock values for each.
void widen_q2_k(const std::byte* in, float* out, std::size_t blocks);
void widen_q3_k(const std::byte* in, float* out, std::size_t blocks);
void widen_q4_k(const std::byte* in, float* out, std::size_t blocks);
void widen_q5_k(const std::byte* in, float* out, std::size_t blocks);
void widen_q6_k(const std::byte* in, float* out, std::size_t blocks);

}  // namespace spqr
