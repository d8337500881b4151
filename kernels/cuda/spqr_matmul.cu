// y (+)= W x' + bias for many tokens; W is SpQR-packed, x'[t][j] = x[t][perm[j]].
//   W (m, n) in the device's layout   x (tokens, n) f32   y (tokens, m) f32   any m, n
// Reads W once per 64 tokens, x' (spqr_matmul_input.cu) once per strip, mostly from L2.
//
// Work split: a block has a strip of 64 rows and up to 64 tokens, a warp one tile of 16 rows; so every weight
// is unpacked once in a block. Panels of x' are staged in shared memory, 8 tokens are the narrow operand of a
// product on tensor cores. Sums are f32.
//   f32: codes are multiplied with both halves of x', hi and lo, which together have 22 bits; s and z are
//   applied to the sums of a group, as in spqr_matvec.cu.
//   automatic: s (q - z) is computed in f32 and rounded to f16, x' is hi alone; so both are rounded by 2^-11
//   of themselves at most. Weights are scaled by a power of two that their strip's peak gives: the largest is
//   not infinite, and what is 2^-28 of it not subnormal.
// Outliers: the strip's entries are shared out evenly among the block's warps, a lane has two tokens. A warp
// adds the rows that begin in its share to y, and keeps what it has of a row that began before for the end.
#include <algorithm>

#include "kernels/cuda/device/reduce.cuh"
#include "kernels/cuda/device/shared_memory.cuh"
#include "kernels/cuda/device/spqr_input.cuh"
#include "kernels/cuda/device/spqr_matmul_input.cuh"
#include "kernels/cuda/device/spqr_outliers.cuh"
#include "kernels/cuda/launch.h"

namespace spqr::cuda {
namespace {

constexpr int kWarps = SpqrDeviceLayout::kTiles;
constexpr int kThreads = kWarps * kWarpLanes;
constexpr int kRows = SpqrDeviceLayout::kStripRows;
constexpr int kTokens = kMatmulTileTokens;
constexpr int kTokenTiles = kTokens / 8;
constexpr int kBlocks = SpqrDeviceLayout::kBlocks;
constexpr int kPanelPairs = SpqrDeviceLayout::kPanelColumns / 2;
constexpr int kMostParts = SpqrDeviceLayout::kPanelColumns / 8;
// Of a token in shared memory, in words: 4 more than there are, so that the 8 tokens of a fragment are in
// different banks.
constexpr int kTokenStride = kPanelPairs + 4;
constexpr int kShiftOf8 = 3;
constexpr int kShiftOfPanel = 6;

struct StagedPanel {
  std::uint32_t x[2][kTokens][kTokenStride];  // hi, lo
  float sums[kMostParts][kTokens];            // of x' over the groups of the panel, or its part of one
};

union PanelOrSums {
  StagedPanel panel;
  float y[kTokens][kRows + 1];
};

struct BlockMemory {
  PanelOrSums front;
  std::uint32_t offsets[kStripOffsets];
  // Of each warp: outliers of a row that begins in an earlier warp's share. Row -1: none.
  std::int32_t carried_row[kWarps];
  float carried[kWarps][kTokens];
};

// Place of a thread, and of the block.
struct Place {
  int strip;
  int first_token;
  int token_tiles;  // that have tokens
  int warp;
  int lane;
  int g;
  int t;
  int field_lane;  // whose fields are those of rows g and g + 8 of the warp's tile
};

__device__ __forceinline__ void stage_half(const std::uint32_t* from, const MatmulInput& input,
                                           int first_token, int panel,
                                           std::uint32_t (&to)[kTokens][kTokenStride]) {
  constexpr int kVectors = kPanelPairs / 4;
#pragma unroll
  for (int i = 0; i < kTokens * kVectors / kThreads; ++i) {
    const int vector = i * kThreads + static_cast<int>(threadIdx.x);
    const int token = vector / kVectors;
    const int word = vector % kVectors * 4;
    const std::int64_t at =
        std::int64_t{first_token + token} * (input.columns / 2) + kPanelPairs * panel + word;
    *reinterpret_cast<uint4*>(&to[token][word]) = *reinterpret_cast<const uint4*>(from + at);
  }
}

// Sums of hi + lo over the groups of a panel.
__device__ __forceinline__ void sum_groups(int group_shift, StagedPanel& panel) {
  const int shift = min(group_shift, kShiftOfPanel);
  const int pairs = 1 << shift >> 1;
  for (int i = static_cast<int>(threadIdx.x); i < kTokens << (kShiftOfPanel - shift); i += kThreads) {
    const int token = i % kTokens;
    const int part = i / kTokens;
    float sum = 0;
    for (int pair = part * pairs; pair < (part + 1) * pairs; ++pair) {
      const std::uint32_t hi = panel.x[0][token][pair];
      const std::uint32_t lo = panel.x[1][token][pair];
      sum += (f16x2_low(hi) + f16x2_low(lo)) + (f16x2_high(hi) + f16x2_high(lo));
    }
    panel.sums[part][token] = sum;
  }
}

// Nibbles of the warp's tile in the four blocks of a panel.
struct TileCodes {
  std::uint32_t low[kBlocks];
  std::uint32_t high[kBlocks];
};

__device__ __forceinline__ void load_planes(const uint4* words, int bits, int tile,
                                            std::uint32_t (&nibbles)[kBlocks]) {
  const uint4 first = load_stream(words + first_word(bits, tile) * SpqrDeviceLayout::kLanes);
  const uint4 last = bits == 3 ? load_stream(words + 2 * SpqrDeviceLayout::kLanes) : first;
#pragma unroll
  for (int block = 0; block < kBlocks; ++block) {
    nibbles[block] = tile_nibbles(component(first, block), component(last, block), bits, tile);
  }
}

__device__ __forceinline__ TileCodes load_codes(const SpqrOperand& w, const Place& place, int panel) {
  const int bits = w.layout.bits;
  const uint4* words = panel_words(w, place.strip, panel, place.lane);
  TileCodes codes = {};
  load_planes(words, min(bits, 4), place.warp, codes.low);
  if (bits > 4) load_planes(words + 4 * SpqrDeviceLayout::kLanes, bits - 4, place.warp, codes.high);
  return codes;
}

// Sums of the lane: rows g and g + 8 of its tile, tokens 2 t and 2 t + 1 of each 8.
using LaneSums = Accumulator4[kTokenTiles];

// y += s (sums - z sum x'); sums = 0.
__device__ __forceinline__ void finish_group(const Place& place, const RowStatistics& statistics,
                                             const float (&x)[kTokens], LaneSums& sums, LaneSums& y) {
#pragma unroll
  for (int tile = 0; tile < kTokenTiles; ++tile) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float products = fmaf(-statistics.z[i / 2], x[8 * tile + 2 * place.t + i % 2], sums[tile].c[i]);
      y[tile].c[i] = fmaf(statistics.s[i / 2], products, y[tile].c[i]);
    }
    sums[tile] = {};
  }
}

// f32: codes of one panel with hi and lo.
__device__ __forceinline__ void multiply_codes(const SpqrOperand& w, const Place& place, int panel,
                                               const TileCodes& codes, const StagedPanel& staged,
                                               LaneSums& y) {
  const int group_shift = w.layout.group_shift;
  LaneSums sums = {};
#pragma unroll
  for (int block = 0; block < kBlocks; ++block) {
    const int in_panel = SpqrDeviceLayout::kBlockColumns * block;
    const int column = SpqrDeviceLayout::kPanelColumns * panel + in_panel;
    if (column >= w.layout.n) break;
    Fragment4 a;
#pragma unroll
    for (int r = 0; r < 4; ++r) a.r[r] = code_pair(codes.low[block], codes.high[block], r);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      // Where groups are of 8 columns each half is multiplied by itself, else both at once.
      const bool halves = group_shift == kShiftOf8;
      const int first = column + 8 * half;
      if (half == 1 && (!halves || first >= w.layout.n)) break;
#pragma unroll
      for (int i = 0; i < 2 * kTokenTiles; ++i) {
        const int tile = i / 2;
        if (tile >= place.token_tiles) break;
        const std::uint32_t* x = staged.x[i % 2][8 * tile + place.g] + 8 * block + place.t;
        if (halves) {
          mma_k8(sums[tile], a.r[2 * half], a.r[2 * half + 1], x[4 * half]);
        } else {
          mma_k16(sums[tile], a, x[0], x[4]);
        }
      }
      const int next = first + (halves ? 8 : SpqrDeviceLayout::kBlockColumns);
      const int group = first >> group_shift;
      if (next >> group_shift == group && next < w.layout.n && block < kBlocks - 1) continue;
      const RowStatistics statistics = row_statistics(w, place.strip, group, place.field_lane, w.factor);
      const int part = (in_panel + 8 * half) >> min(group_shift, kShiftOfPanel);
      finish_group(place, statistics, staged.sums[part], sums, y);
    }
  }
}

// automatic: weights of one panel, times `scale`, with hi.
__device__ __forceinline__ void multiply_weights(const SpqrOperand& w, const Place& place, int panel,
                                                 const TileCodes& codes, float scale,
                                                 const StagedPanel& staged, LaneSums& y) {
#pragma unroll
  for (int block = 0; block < kBlocks; ++block) {
    const int column = SpqrDeviceLayout::kPanelColumns * panel + SpqrDeviceLayout::kBlockColumns * block;
    if (column >= w.layout.n) break;
    Fragment4 a;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int group = min(column + 8 * half, w.layout.n - 1) >> w.layout.group_shift;
      const RowStatistics statistics = row_statistics(w, place.strip, group, place.field_lane, scale);
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const std::uint32_t q = code_pair(codes.low[block], codes.high[block], 2 * half + i);
        const float s = statistics.s[i];
        const float z = statistics.z[i];
        a.r[2 * half + i] = f32x2_to_f16x2(s * (f16x2_low(q) - z), s * (f16x2_high(q) - z));
      }
    }
#pragma unroll
    for (int tile = 0; tile < kTokenTiles; ++tile) {
      if (tile >= place.token_tiles) break;
      const std::uint32_t* x = staged.x[0][8 * tile + place.g] + 8 * block + place.t;
      mma_k16(y[tile], a, x[0], x[4]);
    }
  }
}

// Adds the warp's share of the strip's outliers; `memory.front` holds y.
__device__ void add_outliers(const SpqrOperand& w, const MatmulInput& input, const Place& place,
                             BlockMemory& memory) {
  const EntryRange entries = entries_of(memory.offsets, static_cast<unsigned>(place.warp),
                                        static_cast<unsigned>(kWarps), kWarpLanes);
  if (place.lane == 0) memory.carried_row[place.warp] = -1;
  __syncwarp();
  if (entries.first >= entries.end) return;
  const float* x = input.transposed + place.first_token + place.lane;
  int row = row_of(memory.offsets, entries.first);
  bool carried = memory.offsets[row] < entries.first;
  float sum0 = 0;
  float sum1 = 0;
  const auto store_row = [&] {
    if (carried) {
      memory.carried[place.warp][place.lane] = sum0;
      memory.carried[place.warp][place.lane + kWarpLanes] = sum1;
      if (place.lane == 0) memory.carried_row[place.warp] = row;
    } else {
      memory.front.y[place.lane][row] += sum0;
      memory.front.y[place.lane + kWarpLanes][row] += sum1;
    }
    carried = false;
    sum0 = sum1 = 0;
  };
  for (std::uint32_t first = entries.first; first < entries.end; first += kWarpLanes) {
    const std::uint32_t count = min(entries.end - first, static_cast<std::uint32_t>(kWarpLanes));
    const auto own = static_cast<std::uint32_t>(place.lane);
    const std::uint32_t loaded = own < count ? w.col_vals[first + own] : 0;
    for (std::uint32_t i = 0; i < count; ++i) {
      const std::uint32_t entry = __shfl_sync(kWholeWarp, loaded, static_cast<int>(i));
      if (first + i >= memory.offsets[row + 1]) {
        store_row();
        row = row_of(memory.offsets, first + i);
      }
      const float value = high_half(entry);
      const float* at = x + static_cast<std::int64_t>(entry & 0xFFFFU) * input.tokens;
      sum0 = fmaf(value, at[0], sum0);
      sum1 = fmaf(value, at[kWarpLanes], sum1);
    }
  }
  store_row();
}

// From the lanes' sums to y, in its own scale.
__device__ __forceinline__ void gather_sums(const MatmulInput& input, const Place& place, float scale,
                                            const LaneSums& sums, BlockMemory& memory) {
#pragma unroll
  for (int tile = 0; tile < kTokenTiles; ++tile) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int token = 8 * tile + 2 * place.t + i % 2;
      const int row = 16 * place.warp + place.g + 8 * (i / 2);
      memory.front.y[token][row] = sums[tile].c[i] * input.scale_inverse[place.first_token + token] * scale;
    }
  }
}

__device__ void store_tokens(const SpqrOperand& w, const SpqrCall& call, const Place& place,
                             const BlockMemory& memory) {
  const int rows = min(kRows, w.layout.m - kRows * place.strip);
  const int tokens = min(kTokens, call.tokens - place.first_token);
  for (int i = static_cast<int>(threadIdx.x); i < tokens * kRows; i += kThreads) {
    const int token = i / kRows;
    const int row = i % kRows;
    if (row >= rows) continue;
    store_y(call, w.layout.m, place.first_token + token, kRows * place.strip + row,
            memory.front.y[token][row]);
  }
}

// Grid (strips, tiles of 64 tokens).
template <bool kExact>
__global__ void spqr_matmul_kernel(const SpqrOperand w, const SpqrCall call, const MatmulInput input) {
  auto& memory = *shared_memory<BlockMemory>();
  Place place;
  place.strip = static_cast<int>(blockIdx.x);
  place.first_token = kTokens * static_cast<int>(blockIdx.y);
  place.token_tiles = min(kTokenTiles, (call.tokens - place.first_token + 7) / 8);
  place.warp = static_cast<int>(threadIdx.x) / kWarpLanes;
  place.lane = static_cast<int>(threadIdx.x) % kWarpLanes;
  place.g = place.lane / 4;
  place.t = place.lane % 4;
  place.field_lane = 4 * place.g + place.warp;
  load_offsets(w, place.strip, memory.offsets);

  PowerOfTwo scale = {1.0F, 1.0F};  // of weights; codes have none
  if (!kExact)
    scale = scale_below_f16(reinterpret_cast<const float*>(w.dense + w.layout.peaks_offset)[place.strip]);
  LaneSums sums = {};
  for (int panel = 0; panel < w.layout.panels; ++panel) {
    const TileCodes codes = load_codes(w, place, panel);
    stage_half(input.hi, input, place.first_token, panel, memory.front.panel.x[0]);
    if (kExact) {
      stage_half(input.lo, input, place.first_token, panel, memory.front.panel.x[1]);
      __syncthreads();
      sum_groups(w.layout.group_shift, memory.front.panel);
    }
    __syncthreads();
    if (kExact) {
      multiply_codes(w, place, panel, codes, memory.front.panel, sums);
    } else {
      multiply_weights(w, place, panel, codes, scale.value, memory.front.panel, sums);
    }
    __syncthreads();
  }
  gather_sums(input, place, kExact ? 1.0F : scale.inverse * w.factor, sums, memory);
  if (w.row_offsets != nullptr) {
    __syncthreads();
    add_outliers(w, input, place, memory);
    __syncthreads();
    const int token = static_cast<int>(threadIdx.x);
    for (int i = 0; i < kWarps && token < kTokens; ++i) {
      if (memory.carried_row[i] >= 0)
        memory.front.y[token][memory.carried_row[i]] += memory.carried[i][token];
    }
  }
  __syncthreads();
  store_tokens(w, call, place, memory);
}

}  // namespace

void spqr_matmul(const Gpu& gpu, const SpqrProduct& product, ActivationType activations, std::byte* scratch) {
  const SpqrOperand w = operand_of(product.w);
  const bool exact = activations == ActivationType::f32;
  for (std::int64_t first = 0; first < product.x.rows; first += kMatmulTokens) {
    const SpqrCall call = call_of(product, first, std::min(kMatmulTokens, product.x.rows - first));
    MatmulInput input = matmul_input(scratch, call.tokens, w.layout.n);
    if (!exact) input.lo = nullptr;
    if (w.row_offsets == nullptr) input.transposed = nullptr;
    prepare_matmul_input(gpu, call, w.layout.n, input);
    const auto tiles = static_cast<unsigned>(ceil_div(call.tokens, kTokens));
    launch(gpu, "spqr_matmul", exact ? spqr_matmul_kernel<true> : spqr_matmul_kernel<false>,
           {dim3(static_cast<unsigned>(w.layout.strips), tiles), dim3(kThreads), sizeof(BlockMemory)}, w,
           call, input);
  }
}

}  // namespace spqr::cuda
