#include "kernels/cuda/emulation/instructions.h"

#include <cstring>

#include "kernels/cuda/emulation/block.h"
#include "kernels/cuda/emulation/half.h"
#include "kernels/cuda/emulation/thread.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace spqr::emulation {
namespace {

constexpr unsigned kWholeWarp = 0xFFFFFFFFU;
constexpr int kRows = 16;
constexpr int kColumns = 8;

struct MmaPart {
  float* d;
  const std::uint32_t* a;
  const std::uint32_t* b;
};

template <int kDepth>
struct Operands {
  alignas(32) std::uint16_t a[kRows][kDepth];
  alignas(32) std::uint16_t b[kDepth][kColumns];
  alignas(32) float d[kRows][kColumns];
};

// Fragments: PTX ISA, "Matrix Fragments for mma.m16n8k8" and "... mma.m16n8k16". A register of a or b holds
// elements k and k + 1, the first in the low half.
template <int kDepth>
void gather(void* const payloads[kLanes], Operands<kDepth>& operands) {
  for (int lane = 0; lane < kLanes; ++lane) {
    const auto& part = *static_cast<const MmaPart*>(payloads[lane]);
    const int group = lane / 4;
    const int pair = lane % 4 * 2;
    for (int half = 0; half < kDepth / 8; ++half) {
      const int k = pair + 8 * half;
      std::memcpy(&operands.a[group][k], &part.a[2 * half], 4);
      std::memcpy(&operands.a[group + 8][k], &part.a[2 * half + 1], 4);
      operands.b[k][group] = static_cast<std::uint16_t>(part.b[half] & 0xFFFFU);
      operands.b[k + 1][group] = static_cast<std::uint16_t>(part.b[half] >> 16U);
    }
    std::memcpy(&operands.d[group][pair], &part.d[0], 8);
    std::memcpy(&operands.d[group + 8][pair], &part.d[2], 8);
  }
}

void scatter(void* const payloads[kLanes], const float d[kRows][kColumns]) {
  for (int lane = 0; lane < kLanes; ++lane) {
    const auto& part = *static_cast<const MmaPart*>(payloads[lane]);
    std::memcpy(&part.d[0], &d[lane / 4][lane % 4 * 2], 8);
    std::memcpy(&part.d[2], &d[lane / 4 + 8][lane % 4 * 2], 8);
  }
}

template <int kDepth>
void multiply(Operands<kDepth>& operands) {
  for (int i = 0; i < kRows; ++i)
    for (int k = 0; k < kDepth; ++k)
      for (int j = 0; j < kColumns; ++j)
        operands.d[i][j] += f16_to_f32(operands.a[i][k]) * f16_to_f32(operands.b[k][j]);
}

#if defined(__x86_64__)
// The same numbers: as a product of halves has no more bits than f32, a fused addition rounds as a separate
// one.
template <int kDepth>
__attribute__((target("avx2,f16c,fma"))) void multiply_avx2(Operands<kDepth>& operands) {
  alignas(32) float a[kRows * kDepth];
  const auto* halves_of_a = reinterpret_cast<const __m128i*>(operands.a);
  for (int i = 0; i < kRows * kDepth / 8; ++i) _mm256_store_ps(a + 8 * i, _mm256_cvtph_ps(halves_of_a[i]));
  __m256 b[kDepth];
  for (int k = 0; k < kDepth; ++k) b[k] = _mm256_cvtph_ps(*reinterpret_cast<const __m128i*>(operands.b[k]));
  constexpr int kRowsAtOnce = 4;  // sums that do not wait for each other
  for (int first = 0; first < kRows; first += kRowsAtOnce) {
    __m256 sums[kRowsAtOnce];
    for (int i = 0; i < kRowsAtOnce; ++i) sums[i] = _mm256_load_ps(operands.d[first + i]);
    for (int k = 0; k < kDepth; ++k)
      for (int i = 0; i < kRowsAtOnce; ++i)
        sums[i] = _mm256_fmadd_ps(_mm256_set1_ps(a[(first + i) * kDepth + k]), b[k], sums[i]);
    for (int i = 0; i < kRowsAtOnce; ++i) _mm256_store_ps(operands.d[first + i], sums[i]);
  }
}
#endif

template <int kDepth>
void run_mma(void* const payloads[kLanes], unsigned) {
  Operands<kDepth> operands;
  gather(payloads, operands);
#if defined(__x86_64__)
  static const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (avx2) {
    multiply_avx2(operands);
  } else {
    multiply(operands);
  }
#else
  multiply(operands);
#endif
  scatter(payloads, operands.d);
}

constexpr Collective kMmaK8{"mma.m16n8k8", run_mma<8>};
constexpr Collective kMmaK16{"mma.m16n8k16", run_mma<16>};

struct MatricesPart {
  std::uint32_t* out;
  const std::byte* row;
};

// PTX ISA, "ldmatrix": lane 8 i + r gives row r of matrix i; register i of lane l is elements 2 (l % 4) and
// the next one of row l / 4 of matrix i.
void run_load_matrices(void* const payloads[kLanes], unsigned) {
  for (int lane = 0; lane < kLanes; ++lane) {
    for (int matrix = 0; matrix < 4; ++matrix) {
      const std::byte* row = static_cast<const MatricesPart*>(payloads[8 * matrix + lane / 4])->row;
      std::memcpy(&static_cast<const MatricesPart*>(payloads[lane])->out[matrix], row + lane % 4 * 4, 4);
    }
  }
}

constexpr Collective kLoadMatrices{"ldmatrix", run_load_matrices};

bool aligned_16(const void* pointer) {
  return reinterpret_cast<std::uintptr_t>(pointer) % 16 == 0;
}

bool in_shared_memory(const void* pointer, std::size_t bytes) {
  const Block& block = Block::of_this_thread();
  const std::size_t offset =
      reinterpret_cast<std::uintptr_t>(pointer) - reinterpret_cast<std::uintptr_t>(shared_memory());
  return offset <= block.launch().shared_bytes && bytes <= block.launch().shared_bytes - offset;
}

}  // namespace

void mma_k8(float d[4], const std::uint32_t a[2], std::uint32_t b) {
  MmaPart part{d, a, &b};
  collective(kMmaK8, kWholeWarp, &part, {__FILE__, __LINE__});
}
void mma_k16(float d[4], const std::uint32_t a[4], const std::uint32_t b[2]) {
  MmaPart part{d, a, b};
  collective(kMmaK16, kWholeWarp, &part, {__FILE__, __LINE__});
}

void load_matrices(std::uint32_t out[4], const void* row) {
  if (!in_shared_memory(row, 16)) fail("ldmatrix reads a row that is not in shared memory");
  if (!aligned_16(row)) fail("ldmatrix reads a row that is not aligned to 16 bytes");
  watch(Access::read, row, 16, &kLoadMatrices);
  MatricesPart part{out, static_cast<const std::byte*>(row)};
  collective(kLoadMatrices, kWholeWarp, &part, {__FILE__, __LINE__});
}

void copy_async_16(void* to, const void* from) {
  if (!in_shared_memory(to, 16)) fail("cp.async writes what is not in shared memory");
  if (!aligned_16(to) || !aligned_16(from)) fail("cp.async of addresses that are not aligned to 16 bytes");
  static const char kCopyRead = 0;
  static const char kCopyWrite = 0;
  if (from != nullptr) watch(Access::read, from, 16, &kCopyRead);
  watch_copy_begins(to, 16, &kCopyWrite);
  Block::of_this_thread().copies_of_thread().copies.push_back({to, from});
}

void copy_commit() {
  Copies& mine = Block::of_this_thread().copies_of_thread();
  mine.groups.push_back(mine.copies.size());
}

void copy_wait(int pending) {
  Copies& mine = Block::of_this_thread().copies_of_thread();
  const std::size_t done_groups = mine.groups.size() - std::min<std::size_t>(mine.groups.size(), pending);
  if (done_groups == 0) return;
  const std::size_t done = mine.groups[done_groups - 1];
  for (std::size_t i = 0; i < done; ++i) {
    const auto& [to, from] = mine.copies[i];
    watch_copy_ends(to, 16);
    if (from == nullptr) {
      std::memset(to, 0, 16);
    } else {
      std::memcpy(to, from, 16);
    }
  }
  mine.copies.erase(mine.copies.begin(), mine.copies.begin() + static_cast<std::ptrdiff_t>(done));
  mine.groups.erase(mine.groups.begin(), mine.groups.begin() + static_cast<std::ptrdiff_t>(done_groups));
  for (std::size_t& end : mine.groups) end -= done;
}

uint4 load_16(const uint4* from) {
  if (!aligned_16(from)) fail("a load of 16 bytes from an address that is not aligned to 16");
  watch(Access::read, from, 16, __builtin_return_address(0));
  return *from;
}

}  // namespace spqr::emulation
