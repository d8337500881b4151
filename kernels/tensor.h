// Non-owning views of arrays. Nothing here allocates, checks files, or knows what a model is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace spqr {

enum class DType : std::uint8_t { f32, f16, bf16, i32, u32, u16, i8, u8 };

// Bytes of one element.
constexpr std::size_t size_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
    case DType::i32:
    case DType::u32:
      return 4;
    case DType::f16:
    case DType::bf16:
    case DType::u16:
      return 2;
    case DType::i8:
    case DType::u8:
      return 1;
  }
  return 0;
}

// "f32", "bf16", ...
std::string_view name_of(DType dtype);

// A dense, row-major array of `shape` in memory that somebody else owns.
struct TensorView {
  const void* data = nullptr;
  DType dtype = DType::f32;
  std::vector<std::int64_t> shape;

  std::int64_t elements() const {
    std::int64_t count = 1;
    for (std::int64_t extent : shape) count *= extent;
    return count;
  }
  std::size_t bytes() const { return static_cast<std::size_t>(elements()) * size_of(dtype); }
};

// Activations: f32, row-major (rows, cols), contiguous, in the memory of the backend that works on them.
// A row is a token.
struct Matrix {
  float* data = nullptr;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
};

}  // namespace spqr
