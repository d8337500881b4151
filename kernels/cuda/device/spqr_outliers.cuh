// Outliers of a strip: entries row_offsets[64 strip] .. row_offsets[64 strip + 64] of col_vals, rows in
// order.
#pragma once

#include <cstdint>

#include "kernels/cuda/device/spqr_panel.cuh"

namespace spqr::cuda {

// Where the rows of a strip begin, and the end; rows beyond m begin there too.
inline constexpr int kStripOffsets = SpqrDeviceLayout::kStripRows + 1;

// offsets: shared memory, for the whole block; a barrier is left to the caller. Does nothing where there are
// no outliers.
__device__ __forceinline__ void load_offsets(const SpqrOperand& w, int strip,
                                             std::uint32_t (&offsets)[kStripOffsets]) {
  if (w.row_offsets == nullptr) return;
  for (int i = static_cast<int>(threadIdx.x); i < kStripOffsets; i += static_cast<int>(blockDim.x)) {
    offsets[i] = w.row_offsets[min(SpqrDeviceLayout::kStripRows * strip + i, w.layout.m)];
  }
}

// The row of the strip that has entry `entry`.
__device__ __forceinline__ int row_of(const std::uint32_t (&offsets)[kStripOffsets], std::uint32_t entry) {
  int row = 0;
#pragma unroll
  for (int step = SpqrDeviceLayout::kStripRows / 2; step > 0; step /= 2) {
    if (offsets[row + step] <= entry) row += step;
  }
  return row;
}

struct EntryRange {
  std::uint32_t first;
  std::uint32_t end;
};

// Part `part` of `parts` equal ones of a strip's entries, a multiple of `grain` but for the last.
__device__ __forceinline__ EntryRange entries_of(const std::uint32_t (&offsets)[kStripOffsets],
                                                 std::uint32_t part, std::uint32_t parts,
                                                 std::uint32_t grain) {
  const std::uint32_t begin = offsets[0];
  const std::uint32_t count = offsets[kStripOffsets - 1] - begin;
  const std::uint32_t each = (count + parts * grain - 1) / (parts * grain) * grain;
  return {begin + min(part * each, count), begin + min((part + 1) * each, count)};
}

}  // namespace spqr::cuda
