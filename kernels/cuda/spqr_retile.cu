// A packed matrix from the file's layout to the device's, some strips at a time: three kernels for codes,
// fields and quads, and one for peaks, which reads what the others wrote.
//   file: strips of kernels/spqr_layout.h, any alignment   dense: kernels/cuda/spqr_device_layout.h
// Reads each byte of the file a few times, one by one (L1 serves most of it), writes every word of the
// strips' part of `dense`, padding included: far from the bandwidth of memory, which does not matter while
// weights come over PCIe.
// Work split: a thread makes one word of codes or fields, or one quad; a block makes the peak of a strip.
#include <stdexcept>

#include "kernels/bit_planes.h"
#include "kernels/cuda/device/reduce.cuh"
#include "kernels/cuda/device/shared_memory.cuh"
#include "kernels/cuda/device/spqr_file_strip.cuh"
#include "kernels/cuda/device/spqr_panel.cuh"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/spqr_operations.h"
#include "kernels/spqr_layout.h"

namespace spqr::cuda {
namespace {

constexpr int kThreads = 256;

struct Retile {
  SpqrDeviceLayout layout;
  std::int32_t first_strip;
  std::int32_t strips;
  std::int64_t strip_bytes;  // of a strip of 64 rows
  SpqrFileStrip full;
  SpqrFileStrip last;  // of the matrix
  const std::byte* file;
  std::byte* dense;
};

__device__ __forceinline__ const SpqrFileStrip& strip_of(const Retile& r, int strip) {
  return strip == r.layout.strips - 1 ? r.last : r.full;
}
__device__ __forceinline__ const std::byte* file_of(const Retile& r, int strip) {
  return r.file + (strip - r.first_strip) * r.strip_bytes;
}
__device__ __forceinline__ std::int64_t thread_index() {
  return std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
}

// The plane that a word of a lane's codes is in: `width` bits from bit `low` of the codes on; its first word
// is `low` too.
struct Plane {
  int low;
  int width;
};
__device__ __forceinline__ Plane plane_of(int bits, int word) {
  Plane plane = {0, 0};
  while (true) {
    const int left = bits - plane.low;
    plane.width = left >= 4 ? 4 : left >= 2 ? 2 : 1;
    if (word < plane.low + plane.width) return plane;
    plane.low += plane.width;
  }
}

// A word of codes: those bits of its tiles' codes that its plane has.
__global__ void retile_codes(const Retile r) {
  const SpqrDeviceLayout& layout = r.layout;
  const std::int64_t at = thread_index();
  std::int64_t index = at;
  const int block = static_cast<int>(index % SpqrDeviceLayout::kBlocks);
  index /= SpqrDeviceLayout::kBlocks;
  const int lane = static_cast<int>(index % SpqrDeviceLayout::kLanes);
  index /= SpqrDeviceLayout::kLanes;
  const int word = static_cast<int>(index % layout.bits);
  index /= layout.bits;
  const int panel = static_cast<int>(index % layout.panels);
  index /= layout.panels;
  if (index >= r.strips) return;
  const int strip = r.first_strip + static_cast<int>(index);
  const SpqrFileStrip& from = strip_of(r, strip);
  const std::byte* in = file_of(r, strip);

  const Plane plane = plane_of(layout.bits, word);
  const int tiles = 4 / plane.width;
  std::uint32_t bits = 0;
  for (int i = 0; i < 8 * tiles; ++i) {
    const int tile = (word - plane.low) * tiles + i / 8;
    const int pair = i / 2 % 4;
    const int half = i % 2;
    const int row = 16 * tile + lane / 4 + 8 * (pair % 2);
    const int column = SpqrDeviceLayout::kPanelColumns * panel + SpqrDeviceLayout::kBlockColumns * block +
                       8 * (pair / 2) + 2 * (lane % 4) + half;
    if (row >= from.height || column >= from.n) continue;
    const std::uint32_t code = file_weight_code(from, in, layout.bits, row, column);
    bits |= (code >> plane.low & ((1U << plane.width) - 1)) << (16 * half + 4 * pair + i / 8 * plane.width);
  }
  const std::int64_t strip_words =
      std::int64_t{layout.panels} * layout.bits * SpqrDeviceLayout::kLanes * SpqrDeviceLayout::kBlocks;
  reinterpret_cast<std::uint32_t*>(r.dense)[r.first_strip * strip_words + at] = bits;
}

__device__ std::uint32_t field_of(const SpqrDeviceLayout& layout, const SpqrFileStrip& from,
                                  const std::byte* group, int lane) {
  std::uint32_t field = 0;
  for (int i = 0; i < 2; ++i) {
    const int row = first_row_of(lane) + 8 * i;
    if (row >= from.height) break;
    const int at = file_statistic_index(from, row);
    field |= file_code(group + from.scale_codes_offset, from.height, layout.scale_bits, at)
             << (i * layout.scale_bits);
    field |= file_code(group + from.zero_codes_offset, from.height, layout.zero_bits, at)
             << (2 * layout.scale_bits + i * layout.zero_bits);
  }
  return field;
}

__global__ void retile_fields(const Retile r) {
  const SpqrDeviceLayout& layout = r.layout;
  const int width = layout.field_words;
  std::int64_t index = thread_index();
  const int word = static_cast<int>(index % width);
  index /= width;
  const int group = static_cast<int>(index % layout.groups);
  index /= layout.groups;
  if (index >= r.strips) return;
  const int strip = r.first_strip + static_cast<int>(index);
  const SpqrFileStrip& from = strip_of(r, strip);
  const std::byte* in = file_group(from, file_of(r, strip), group);

  // The lanes whose fields have a bit in this word.
  std::uint32_t bits = 0;
  for (int lane = 32 * word / width; lane * width < 32 * (word + 1); ++lane) {
    const std::uint32_t field = field_of(layout, from, in, lane);
    const int shift = lane * width - 32 * word;
    bits |= shift >= 0 ? field << shift : field >> -shift;
  }
  const std::int64_t at = (std::int64_t{strip} * layout.groups + group) * width + word;
  reinterpret_cast<std::uint32_t*>(r.dense + layout.fields_offset)[at] = bits;
}

__global__ void retile_quads(const Retile r) {
  const SpqrDeviceLayout& layout = r.layout;
  std::int64_t index = thread_index();
  const int quad = static_cast<int>(index % layout.quads);
  index /= layout.quads;
  const int group = static_cast<int>(index % layout.groups);
  index /= layout.groups;
  if (index >= r.strips) return;
  const int strip = r.first_strip + static_cast<int>(index);
  const SpqrFileStrip& from = strip_of(r, strip);
  const std::byte* in = file_group(from, file_of(r, strip), group);

  uint2 out = make_uint2(0, 0);
  if (layout.field_words == 0) {
    const std::byte* zeros = in + std::int64_t{2} * from.height;
    const int row = first_row_of(quad);
    if (row < from.height) out.x = file_half(in + 2 * row) | file_half(zeros + 2 * row) << 16U;
    if (row + 8 < from.height) out.y = file_half(in + 2 * row + 16) | file_half(zeros + 2 * row + 16) << 16U;
  } else if (quad << layout.beta2_shift < from.height) {
    const std::byte* second = in + 8 * quad;
    out.x = file_half(second) | file_half(second + 2) << 16U;
    out.y = file_half(second + 4) | file_half(second + 6) << 16U;
  }
  const std::int64_t at = (std::int64_t{strip} * layout.groups + group) * layout.quads + quad;
  reinterpret_cast<uint2*>(r.dense + layout.quads_offset)[at] = out;
}

// A block a strip, a warp a group.
__global__ void find_peaks(const Retile r) {
  float* shared = shared_memory<float>();
  const int strip = r.first_strip + static_cast<int>(blockIdx.x);
  const int warp = static_cast<int>(threadIdx.x) / kWarpLanes;
  const int lane = static_cast<int>(threadIdx.x) % kWarpLanes;
  const SpqrOperand w = {r.layout, 1.0F, r.dense, nullptr, nullptr};
  const auto largest_code = static_cast<float>((1 << r.layout.bits) - 1);
  float peak = 0;
  for (int group = warp; group < r.layout.groups; group += kThreads / kWarpLanes) {
    const RowStatistics statistics = row_statistics(w, strip, group, lane, 1.0F);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const float z = statistics.z[i];
      peak = fmaxf(peak, fabsf(statistics.s[i]) * fmaxf(fabsf(z), fabsf(largest_code - z)));
    }
  }
  peak = warp_max(peak);
  if (lane == 0) shared[warp] = peak;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int i = 1; i < kThreads / kWarpLanes; ++i) peak = fmaxf(peak, shared[i]);
  reinterpret_cast<float*>(r.dense + r.layout.peaks_offset)[strip] = peak;
}

SpqrFileStrip file_strip(const SpqrFormat& format, const SpqrLayout& layout, std::int64_t n,
                         std::int64_t height) {
  SpqrFileStrip strip = {};
  strip.height = static_cast<std::int32_t>(height);
  strip.n = static_cast<std::int32_t>(n);
  strip.groups = static_cast<std::int32_t>(layout.groups());
  strip.groups_per_chunk = static_cast<std::int32_t>(layout.groups_per_chunk());
  // With whole rows as groups there is one chunk, and all units are in it.
  strip.units_per_chunk =
      static_cast<std::int32_t>(ceil_div(layout.chunk_columns(), SpqrLayout::kUnitColumns));
  strip.group_bytes = static_cast<std::int32_t>(layout.group_bytes(height));
  strip.unit_bytes = static_cast<std::int32_t>(plane_bytes(height * SpqrLayout::kUnitColumns, format.bits));
  strip.chunk_bytes = layout.groups_per_chunk() * layout.group_bytes(height) +
                      std::int64_t{strip.units_per_chunk} * strip.unit_bytes;
  if (format.quantized_statistics()) {
    strip.scale_codes_offset = static_cast<std::int32_t>(layout.scale_codes_offset(height));
    strip.zero_codes_offset = static_cast<std::int32_t>(layout.zero_codes_offset(height));
  }
  return strip;
}

unsigned blocks_for(std::int64_t threads) {
  const std::int64_t blocks = ceil_div(threads, kThreads);
  if (blocks > 0x7FFFFFFF) throw std::invalid_argument("too many strips at once for a launch");
  return static_cast<unsigned>(blocks);
}

}  // namespace

void retile(const Gpu& gpu, const SpqrMatrix& matrix, std::int64_t first_strip, std::int64_t strips,
            const std::byte* file_dense, std::byte* device_dense) {
  const SpqrLayout from(matrix.format, matrix.m, matrix.n);
  const SpqrDeviceLayout to(matrix.format, matrix.m, matrix.n);
  const auto strip_of_height = [&](std::int64_t height) {
    return file_strip(matrix.format, from, matrix.n, height);
  };
  const Retile retile = {to,
                         static_cast<std::int32_t>(first_strip),
                         static_cast<std::int32_t>(strips),
                         from.strip_offset(1),
                         strip_of_height(SpqrLayout::kStripRows),
                         strip_of_height(from.strip_height(from.strips() - 1)),
                         file_dense,
                         device_dense};
  const std::int64_t panel_words =
      std::int64_t{to.bits} * SpqrDeviceLayout::kLanes * SpqrDeviceLayout::kBlocks;
  launch(gpu, "retile, codes", retile_codes,
         {dim3(blocks_for(strips * to.panels * panel_words)), dim3(kThreads)}, retile);
  if (to.field_words > 0) {
    launch(gpu, "retile, fields", retile_fields,
           {dim3(blocks_for(strips * to.groups * to.field_words)), dim3(kThreads)}, retile);
  }
  launch(gpu, "retile, quads", retile_quads,
         {dim3(blocks_for(strips * to.groups * to.quads)), dim3(kThreads)}, retile);
  launch(gpu, "retile, peaks", find_peaks,
         {dim3(static_cast<unsigned>(strips)), dim3(kThreads), kThreads / kWarpLanes * sizeof(float)},
         retile);
}

}  // namespace spqr::cuda
