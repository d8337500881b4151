// x[t] = row ids[t] of a packed table, in its stored column order.
//   table (vocab, n) in the device's layout, any bits and groups   ids (tokens)   x (tokens, n) f32
// Reads a row's codes, a sixteenth of every line it touches, and its statistics and outliers; writes 4 n
// bytes a token. Work split: a block per token, a thread a column; then a thread an outlier. f32.
#include "kernels/cuda/device/spqr_call.cuh"
#include "kernels/cuda/device/spqr_panel.cuh"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/spqr_operations.h"

namespace spqr::cuda {
namespace {

constexpr int kThreads = 256;

// A place in a fragment.
struct CodePlace {
  int tile;
  int lane;
  int block;
  int nibble;  // of a word
};

__device__ __forceinline__ CodePlace place_of(int row, int column) {
  const int k = column % SpqrDeviceLayout::kBlockColumns;
  const int r = row % 16 / 8 + 2 * (k / 8);
  return {row / 16, row % 8 * 4 + k % 8 / 2,
          column % SpqrDeviceLayout::kPanelColumns / SpqrDeviceLayout::kBlockColumns, 4 * (k % 2) + r};
}

__device__ __forceinline__ std::uint32_t word_of(const SpqrOperand& w, int strip, int panel,
                                                 const CodePlace& at, int word) {
  const uint4* words = panel_words(w, strip, panel, at.lane) + word * SpqrDeviceLayout::kLanes;
  return reinterpret_cast<const std::uint32_t*>(words)[at.block];
}

// Up to 4 bits of a code, from the planes that begin with word `first`.
__device__ __forceinline__ std::uint32_t nibble_of(const SpqrOperand& w, int strip, int panel,
                                                   const CodePlace& at, int first, int bits) {
  const std::uint32_t widest = word_of(w, strip, panel, at, first + first_word(bits, at.tile));
  const std::uint32_t last = bits == 3 ? word_of(w, strip, panel, at, first + 2) : 0;
  return tile_nibbles(widest, last, bits, at.tile) >> (4 * at.nibble) & 0xFU;
}

// Grid (tokens).
__global__ void embed_packed_kernel(const SpqrOperand w, const std::int32_t* ids, float* x) {
  const int id = ids[blockIdx.x];
  const int strip = id / SpqrDeviceLayout::kStripRows;
  const int row = id % SpqrDeviceLayout::kStripRows;
  const int bits = w.layout.bits;
  const int field_lane = row % 8 * 4 + row / 16;
  float* out = x + std::int64_t{blockIdx.x} * w.layout.n;
  for (int column = static_cast<int>(threadIdx.x); column < w.layout.n; column += kThreads) {
    const int panel = column / SpqrDeviceLayout::kPanelColumns;
    const CodePlace at = place_of(row, column);
    std::uint32_t code = nibble_of(w, strip, panel, at, 0, min(bits, 4));
    if (bits > 4) code |= nibble_of(w, strip, panel, at, 4, bits - 4) << 4U;
    const RowStatistics statistics =
        row_statistics(w, strip, column >> w.layout.group_shift, field_lane, w.factor);
    const bool below = row % 16 >= 8;
    const float s = below ? statistics.s[1] : statistics.s[0];
    const float z = below ? statistics.z[1] : statistics.z[0];
    out[column] = s * (static_cast<float>(code) - z);
  }
  if (w.row_offsets == nullptr) return;
  __syncthreads();
  const std::uint32_t end = w.row_offsets[id + 1];
  for (std::uint32_t i = w.row_offsets[id] + threadIdx.x; i < end; i += kThreads) {
    const std::uint32_t entry = w.col_vals[i];
    out[entry & 0xFFFFU] += high_half(entry);
  }
}

}  // namespace

void embed_packed(const Gpu& gpu, Matrix x, const SpqrMatrix& table, const std::int32_t* ids) {
  launch(gpu, "embed_packed", embed_packed_kernel, {dim3(static_cast<unsigned>(x.rows)), dim3(kThreads)},
         operand_of(table), ids, x.data);
}

}  // namespace spqr::cuda
