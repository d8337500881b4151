// Codes and statistics of a strip as they lie in a file: what kernels/spqr_layout.h and kernels/bit_planes.h
// compute, for kernels.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/cuda_api.h"

namespace spqr::cuda {

// A strip of `height` rows; the numbers are those of SpqrLayout.
struct SpqrFileStrip {
  std::int32_t height;
  std::int32_t n;
  std::int32_t groups;
  std::int32_t groups_per_chunk;
  std::int32_t units_per_chunk;
  std::int32_t group_bytes;
  std::int32_t unit_bytes;  // of 8 columns
  std::int64_t chunk_bytes;
  std::int32_t scale_codes_offset;
  std::int32_t zero_codes_offset;
};

// Code i of `count`.
__device__ __forceinline__ std::uint32_t file_code(const std::byte* in, int count, int bits, int i) {
  const int line = (count + 7) / 8;
  std::uint32_t code = 0;
  for (int low = 0; low < bits;) {
    const int left = bits - low;
    const int width = left >= 4 ? 4 : left >= 2 ? 2 : 1;
    const auto byte = static_cast<std::uint32_t>(in[low * line + i % (width * line)]);
    code |= (byte >> (width * (i / (width * line))) & ((1U << width) - 1)) << low;
    low += width;
  }
  return code;
}

// Where a group's statistics begin.
__device__ __forceinline__ const std::byte* file_group(const SpqrFileStrip& strip, const std::byte* in,
                                                       int group) {
  const int chunk = group / strip.groups_per_chunk;
  return in + chunk * strip.chunk_bytes +
         std::int64_t{group - chunk * strip.groups_per_chunk} * strip.group_bytes;
}

__device__ __forceinline__ std::uint32_t file_weight_code(const SpqrFileStrip& strip, const std::byte* in,
                                                          int bits, int row, int column) {
  const int unit = column / 8;
  const int chunk = unit / strip.units_per_chunk;
  const int groups = min(strip.groups_per_chunk, strip.groups - chunk * strip.groups_per_chunk);
  const std::byte* codes = in + chunk * strip.chunk_bytes + std::int64_t{groups} * strip.group_bytes +
                           std::int64_t{unit - chunk * strip.units_per_chunk} * strip.unit_bytes;
  const int width = min(8, strip.n - 8 * unit);
  const int quad = column % 8 / 4;
  const int quad_width = min(4, width - 4 * quad);
  return file_code(codes, strip.height * width, bits,
                   4 * quad * strip.height + row * quad_width + column % 4);
}

// Place of a row among the statistic codes of a group.
__device__ __forceinline__ int file_statistic_index(const SpqrFileStrip& strip, int row) {
  return strip.height < 64 ? row : row / 32 * 32 + row % 8 * 4 + row % 32 / 8;
}

__device__ __forceinline__ std::uint32_t file_half(const std::byte* in) {
  return static_cast<std::uint32_t>(in[0]) | static_cast<std::uint32_t>(in[1]) << 8U;
}

}  // namespace spqr::cuda
