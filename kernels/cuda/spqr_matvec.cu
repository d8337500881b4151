// y (+)= W x' + bias for 1 to 8 tokens; W is SpQR-packed, x'[t][j] = x[t][perm[j]].
//   W (m, n) in the device's layout   x (tokens, n) f32   y (tokens, m) f32   any m, n
// Reads codes, statistics and outliers once, and x and perm once per strip (from L2); writes 4 m tokens
// bytes: bandwidth-bound. Where a strip is split, 256 bytes a token and block go to scratch and back.
//
// Work split: a block has a strip of 64 rows, or a share of its panels where there are too few strips for the
// machine; its warps take panels in turn. Tensor cores multiply codes with x; the statistics are applied to
// the sums of a group.
//   x' of a panel is scaled by a power of two and split into two f16, hi + lo, so that sums are those of f32
//   (|error| <= 2^-22 |x|, or 2^-39 of the panel's largest). The products q hi and q lo are exact, and are
//   summed in f32. Columns 2 i and 2 i + 1 of the narrow operand hold hi and lo of a token where tile i of
//   the strip is multiplied, else zeros. So all four tiles go into one accumulator, in which lane (g, t), g =
//   lane / 4 and t = lane % 4, has the sums over q hi and q lo of rows 16 t + g and 16 t + g + 8 of the
//   strip: just those of which it reads the statistics. One more product, with ones, has the sums over hi and
//   lo. y = sum over groups of s (sum q x' - z sum x'), in f32.
//
// Outliers: a strip's entries are shared out evenly among all warps that work on it, whatever rows they are
// in; a warp adds up 32 entries at a time by segments of equal rows.
//
// All sums are in an order that depends only on shapes and the number of multiprocessors: the block that
// comes last to a strip adds the shares of all, in order.
#include <algorithm>

#include "kernels/cuda/device/reduce.cuh"
#include "kernels/cuda/device/shared_memory.cuh"
#include "kernels/cuda/device/spqr_call.cuh"
#include "kernels/cuda/device/spqr_input.cuh"
#include "kernels/cuda/device/spqr_outliers.cuh"
#include "kernels/cuda/device/spqr_panel.cuh"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/spqr_operations.h"

namespace spqr::cuda {
namespace {

constexpr int kMostWarps = 8;
constexpr int kRows = SpqrDeviceLayout::kStripRows;
constexpr int kPanelPairs = SpqrDeviceLayout::kPanelColumns / 2;

// A counter for every strip, and the shares of blocks.   (strips, splits, tokens, 64)
struct Shares {
  std::uint32_t* arrived;
  float* sums;
};

// What a warp has in shared memory: first x, then sums of its rows.
template <int kTokens>
union WarpMemory {
  std::uint32_t x[kTokens][2][kPanelPairs];  // hi and lo of pairs of columns
  float y[kTokens][kRows];
};

template <int kTokens>
struct BlockMemory {
  WarpMemory<kTokens> warps[kMostWarps];
  std::uint32_t offsets[kStripOffsets];
  std::uint32_t is_last;
};

// Columns of a panel of x', scaled and split; returns the inverse of each token's scale.
template <int kTokens>
__device__ void stage_x(const SpqrOperand& w, const SpqrCall& call, int panel, int lane,
                        std::uint32_t (&x)[kTokens][2][kPanelPairs], float (&inverse)[kTokens]) {
  const int column = SpqrDeviceLayout::kPanelColumns * panel + 2 * lane;
  const int n = w.layout.n;
  const int from0 = column < n ? source_column(call, column) : 0;
  const int from1 = column + 1 < n ? source_column(call, column + 1) : 0;
  __syncwarp();
#pragma unroll
  for (int token = 0; token < kTokens; ++token) {
    const float* row = call.x + std::int64_t{token} * n;
    const bool present = token < call.tokens;
    const float x0 = present && column < n ? row[from0] : 0.0F;
    const float x1 = present && column + 1 < n ? row[from1] : 0.0F;
    const PowerOfTwo scale = scale_below_f16(warp_max(fmaxf(fabsf(x0), fabsf(x1))));
    const SplitPair pair = split(x0 * scale.value, x1 * scale.value);
    x[token][0][lane] = pair.hi;
    x[token][1][lane] = pair.lo;
    inverse[token] = scale.inverse;
  }
  __syncwarp();
}

// The codes of a lane in a panel; absent planes are zero.
struct PanelCodes {
  uint4 words[8];
};

__device__ __forceinline__ PanelCodes load_codes(const SpqrOperand& w, int strip, int panel, int lane) {
  const uint4* from = panel_words(w, strip, panel, lane);
  PanelCodes codes;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    codes.words[i] =
        i < w.layout.bits ? load_stream(from + i * SpqrDeviceLayout::kLanes) : make_uint4(0, 0, 0, 0);
  }
  return codes;
}

// Nibbles of a tile of a block, from the planes that begin with word `first`.
__device__ __forceinline__ std::uint32_t nibbles_of(const PanelCodes& codes, int first, int bits, int block,
                                                    int tile) {
  const std::uint32_t of_four = component(codes.words[first + tile], block);
  const std::uint32_t of_two = component(codes.words[first + tile / 2], block);
  const std::uint32_t of_one = component(codes.words[first], block);
  const std::uint32_t last = component(codes.words[first + 2], block);
  return tile_nibbles(bits == 4 ? of_four : bits == 1 ? of_one : of_two, last, bits, tile);
}

// Sums of a token over a group: of q hi and q lo for the lane's two rows, and of hi and lo.
struct GroupSums {
  Accumulator4 codes;
  Accumulator4 ones;
};

template <int kTokens>
__device__ __forceinline__ void finish_group(const RowStatistics& statistics, const float (&inverse)[kTokens],
                                             GroupSums (&sums)[kTokens], float (&y)[kTokens][2]) {
#pragma unroll
  for (int token = 0; token < kTokens; ++token) {
    const float scale = inverse[token];
    const float x = (sums[token].ones.c[0] + sums[token].ones.c[1]) * scale;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const float products = (sums[token].codes.c[2 * i] + sums[token].codes.c[2 * i + 1]) * scale;
      y[token][i] = fmaf(statistics.s[i], fmaf(-statistics.z[i], x, products), y[token][i]);
    }
    sums[token] = {};
  }
}

// Half `half` (8 columns) of a block, or with kWhole both, of all four tiles.
template <int kTokens, bool kWhole>
__device__ __forceinline__ void multiply_block(const PanelCodes& codes, int bits, int block, int half, int g,
                                               const std::uint32_t (&b)[kTokens][2],
                                               GroupSums (&sums)[kTokens]) {
#pragma unroll
  for (int tile = 0; tile < SpqrDeviceLayout::kTiles; ++tile) {
    const std::uint32_t low = nibbles_of(codes, 0, min(bits, 4), block, tile);
    const std::uint32_t high = bits > 4 ? nibbles_of(codes, 4, bits - 4, block, tile) : 0;
    const bool mine = g / 2 == tile;
    if (kWhole) {
      const Fragment4 a = {{code_pair(low, high, 0), code_pair(low, high, 1), code_pair(low, high, 2),
                            code_pair(low, high, 3)}};
#pragma unroll
      for (int token = 0; token < kTokens; ++token) {
        mma_k16(sums[token].codes, a, mine ? b[token][0] : 0, mine ? b[token][1] : 0);
      }
    } else {
      const std::uint32_t a0 = code_pair(low, high, 2 * half);
      const std::uint32_t a1 = code_pair(low, high, 2 * half + 1);
#pragma unroll
      for (int token = 0; token < kTokens; ++token) {
        mma_k8(sums[token].codes, a0, a1, mine ? b[token][half] : 0);
      }
    }
  }
#pragma unroll
  for (int token = 0; token < kTokens; ++token) {
    if (kWhole) {
      mma_k16(sums[token].ones, {{kHalvesOne, kHalvesOne, kHalvesOne, kHalvesOne}}, b[token][0], b[token][1]);
    } else {
      mma_k8(sums[token].ones, kHalvesOne, kHalvesOne, b[token][half]);
    }
  }
}

// Adds a panel to the sums of the lane's two rows.
template <int kTokens, bool kGroupsOf8>
__device__ __forceinline__ void multiply_panel(const SpqrOperand& w, int strip, int panel, int lane,
                                               const PanelCodes& codes,
                                               const std::uint32_t (&x)[kTokens][2][kPanelPairs],
                                               const float (&inverse)[kTokens], float (&y)[kTokens][2]) {
  const int g = lane / 4;
  const int t = lane % 4;
  const int bits = w.layout.bits;
  GroupSums sums[kTokens] = {};
#pragma unroll
  for (int block = 0; block < SpqrDeviceLayout::kBlocks; ++block) {
    const int column = SpqrDeviceLayout::kPanelColumns * panel + SpqrDeviceLayout::kBlockColumns * block;
    if (column >= w.layout.n) break;
    std::uint32_t b[kTokens][2];
#pragma unroll
    for (int token = 0; token < kTokens; ++token) {
      b[token][0] = x[token][g % 2][8 * block + t];
      b[token][1] = x[token][g % 2][8 * block + 4 + t];
    }
    if (kGroupsOf8) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        if (column + 8 * half >= w.layout.n) break;
        const RowStatistics statistics =
            row_statistics(w, strip, (column + 8 * half) >> w.layout.group_shift, lane, w.factor);
        multiply_block<kTokens, false>(codes, bits, block, half, g, b, sums);
        finish_group(statistics, inverse, sums, y);
      }
    } else {
      multiply_block<kTokens, true>(codes, bits, block, 0, g, b, sums);
      const int next = column + SpqrDeviceLayout::kBlockColumns;
      const bool group_ends = next >> w.layout.group_shift != column >> w.layout.group_shift;
      if (group_ends || block == SpqrDeviceLayout::kBlocks - 1 || next >= w.layout.n) {
        finish_group(row_statistics(w, strip, column >> w.layout.group_shift, lane, w.factor), inverse, sums,
                     y);
      }
    }
  }
}

// Adds entries of a warp to its sums.
template <int kTokens>
__device__ void add_outliers(const SpqrOperand& w, const SpqrCall& call, EntryRange entries,
                             const std::uint32_t (&offsets)[kStripOffsets], int lane,
                             float (&y)[kTokens][kRows]) {
  for (std::uint32_t first = entries.first; first < entries.end; first += kWarpLanes) {
    const std::uint32_t i = first + static_cast<std::uint32_t>(lane);
    const bool present = i < entries.end;
    const std::uint32_t entry = present ? w.col_vals[i] : 0;
    const float value = high_half(entry);
    const int column = present ? source_column(call, static_cast<int>(entry & 0xFFFFU)) : 0;
    const int row = present ? row_of(offsets, i) : kRows;
    // Bit j: the lane 2^j before is in the same row.
    unsigned same = 0;
#pragma unroll
    for (int j = 0; j < 5; ++j) {
      const int before = __shfl_up_sync(kWholeWarp, row, 1U << j);
      if (lane >= 1 << j && before == row) same |= 1U << j;
    }
    const int after = __shfl_down_sync(kWholeWarp, row, 1);
    const bool ends = present && (lane == kWarpLanes - 1 || after != row);
#pragma unroll
    for (int token = 0; token < kTokens; ++token) {
      float sum =
          present && token < call.tokens ? value * call.x[std::int64_t{token} * w.layout.n + column] : 0.0F;
#pragma unroll
      for (int j = 0; j < 5; ++j) {
        const float before = __shfl_up_sync(kWholeWarp, sum, 1U << j);
        if ((same >> j & 1U) != 0) sum += before;
      }
      if (ends) y[token][row] += sum;
    }
    __syncwarp();
  }
}

// Adds up the warps' sums; the block that comes last to a strip adds up those of all blocks and stores.
template <int kTokens>
__device__ void store_strip(const SpqrOperand& w, const SpqrCall& call, const Shares& shares, int strip,
                            BlockMemory<kTokens>& memory) {
  const int warps = static_cast<int>(blockDim.x) / kWarpLanes;
  const int splits = static_cast<int>(gridDim.y);
  const int rows = min(kRows, w.layout.m - kRows * strip);
  const int count = call.tokens * kRows;
  float* all = shares.sums + std::int64_t{strip} * splits * kTokens * kRows;
  const int split = static_cast<int>(blockIdx.y);
  for (int i = static_cast<int>(threadIdx.x); i < count; i += static_cast<int>(blockDim.x)) {
    const int token = i / kRows;
    const int row = i % kRows;
    float sum = 0;
    for (int warp = 0; warp < warps; ++warp) sum += memory.warps[warp].y[token][row];
    if (splits > 1) {
      all[split * kTokens * kRows + i] = sum;
    } else if (row < rows) {
      store_y(call, w.layout.m, token, kRows * strip + row, sum);
    }
  }
  if (splits == 1) return;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    memory.is_last = atomicAdd(shares.arrived + strip, 1U) == static_cast<unsigned>(splits - 1) ? 1 : 0;
  }
  __syncthreads();
  if (memory.is_last == 0) return;
  __threadfence();
  for (int i = static_cast<int>(threadIdx.x); i < count; i += static_cast<int>(blockDim.x)) {
    float sum = 0;
    for (int other = 0; other < splits; ++other) sum += all[other * kTokens * kRows + i];
    if (i % kRows < rows) store_y(call, w.layout.m, i / kRows, kRows * strip + i % kRows, sum);
  }
  if (threadIdx.x == 0) shares.arrived[strip] = 0;
}

// Grid (strips, splits).
template <int kTokens, bool kGroupsOf8>
__global__ void spqr_matvec_kernel(const SpqrOperand w, const SpqrCall call, const Shares shares) {
  auto& memory = *shared_memory<BlockMemory<kTokens>>();
  const int strip = static_cast<int>(blockIdx.x);
  const int warp = static_cast<int>(threadIdx.x) / kWarpLanes;
  const int lane = static_cast<int>(threadIdx.x) % kWarpLanes;
  const int warps = static_cast<int>(blockDim.x) / kWarpLanes;
  auto& mine = memory.warps[warp];
  load_offsets(w, strip, memory.offsets);

  const auto panels = std::int64_t{w.layout.panels};
  const int first = static_cast<int>(panels * blockIdx.y / gridDim.y);
  const int end = static_cast<int>(panels * (blockIdx.y + 1) / gridDim.y);
  float y[kTokens][2] = {};
  for (int panel = first + warp; panel < end; panel += warps) {
    const PanelCodes codes = load_codes(w, strip, panel, lane);
    float inverse[kTokens];
    stage_x(w, call, panel, lane, mine.x, inverse);
    multiply_panel<kTokens, kGroupsOf8>(w, strip, panel, lane, codes, mine.x, inverse, y);
  }
  __syncthreads();  // offsets are there, and x has been read
#pragma unroll
  for (int token = 0; token < kTokens; ++token) {
    mine.y[token][first_row_of(lane)] = y[token][0];
    mine.y[token][first_row_of(lane) + 8] = y[token][1];
  }
  __syncwarp();
  if (w.row_offsets != nullptr) {
    const EntryRange entries =
        entries_of(memory.offsets, blockIdx.y * static_cast<unsigned>(warps) + static_cast<unsigned>(warp),
                   gridDim.y * static_cast<unsigned>(warps), kWarpLanes);
    add_outliers(w, call, entries, memory.offsets, lane, mine.y);
  }
  __syncthreads();
  store_strip(w, call, shares, strip, memory);
}

template <int kTokens>
void launch_for(const Gpu& gpu, const SpqrOperand& w, const SpqrCall& call, const Shares& shares, int splits,
                int warps) {
  const LaunchShape shape = {dim3(static_cast<unsigned>(w.layout.strips), static_cast<unsigned>(splits)),
                             dim3(static_cast<unsigned>(warps * kWarpLanes)), sizeof(BlockMemory<kTokens>)};
  constexpr int kShiftOf8 = 3;
  launch(gpu, "spqr_matvec",
         w.layout.group_shift == kShiftOf8 ? spqr_matvec_kernel<kTokens, true>
                                           : spqr_matvec_kernel<kTokens, false>,
         shape, w, call, shares);
}

}  // namespace

void spqr_matvec(const Gpu& gpu, const SpqrProduct& product, std::byte* scratch) {
  const SpqrOperand w = operand_of(product.w);
  const SpqrCall call = call_of(product, 0, product.x.rows);
  const int warps = std::min(kMostWarps, w.layout.panels);
  const int fit = static_cast<int>(matvec_most_blocks(gpu.multiprocessors)) / w.layout.strips;
  const int splits = std::max(1, std::min(fit, w.layout.panels / warps));
  const Shares shares = {gpu.counters, reinterpret_cast<float*>(scratch)};
  if (call.tokens == 1) return launch_for<1>(gpu, w, call, shares, splits, warps);
  if (call.tokens == 2) return launch_for<2>(gpu, w, call, shares, splits, warps);
  if (call.tokens <= 4) return launch_for<4>(gpu, w, call, shares, splits, warps);
  launch_for<8>(gpu, w, call, shares, splits, warps);
}

}  // namespace spqr::cuda
