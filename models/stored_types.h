// How the elements of a checkpoint's tensors lie on disk, and their way to f32. All little-endian.
//   F32, F16, BF16          one value an element
//   Q8_0   32 elements a block: f16 scale d, 32 x i8 q              d q
//   Q4_0   32 elements a block: f16 scale d, 16 bytes q             d (q - 8)
//   Q4_1   32 elements a block: f16 scale d, f16 minimum m, 16 bytes q   d q + m
//   Q5_0   32 elements a block: f16 scale d, u32 h, 16 bytes q      d (q - 16)
//   Q5_1   32 elements a block: f16 scale d, f16 minimum m, u32 h, 16 bytes q   d q + m
//   Q2_K .. Q6_K   256 elements a block: models/k_quants.h
// The 16 bytes hold element i in the low nibble of byte i, and element 16 + i in its high nibble; bit i of h
// is the fifth bit of element i. Source of the block formats: ggml's GGUF specification (ggml-org/ggml,
// docs/gguf.md) and gguf-py's quants.py.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace spqr {

struct StoredType {
  std::string_view name;
  std::int64_t block_elements;
  std::int64_t block_bytes;
  void (*widen_blocks)(const std::byte* in, float* out, std::size_t blocks);
};

// nullptr: not one of those above.
const StoredType* find_stored_type(std::string_view name);

// Bytes of `elements` elements, a whole number of blocks; -1 where they are not, or where it would not fit 63
// bits.
std::int64_t stored_bytes(const StoredType& type, std::int64_t elements);

// Product of the extents; -1 where one is negative or the product does not fit 63 bits.
std::int64_t element_count(std::span<const std::int64_t> shape);

// in: whole blocks, at any address. out: an f32 for each of their elements.
void widen(const StoredType& type, std::span<const std::byte> in, float* out);

}  // namespace spqr
