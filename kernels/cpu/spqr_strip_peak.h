// How fast a processor can multiply at all: rounds of nothing but the strip kernels' products, with operands
// at hand and sums in registers. What speeds of products are compared with. Compiled once
// per instruction set, hence the anonymous namespace.
//   Products of bf16 have no peak of their own: with 512 bits one of their instructions does 32
//   multiply-adds,
// and so does one of bytes where x is in two bytes and takes two instructions for 64.
#pragma once

#include <algorithm>
#include <iterator>

#include "kernels/cpu/spqr_strip_f32.h"

namespace spqr {
namespace {

// Tokens whose products with the same codes are done at once.
constexpr int kPeakTokens = 4;

// The compiler no longer knows where `from` points: what is read there is read, and multiplied, again.
template <typename Value>
inline void forget(const Value*& from) {
  asm volatile("" : "+r"(from));
}

// Makes a result one that is needed.
template <typename Vector>
inline void keep(const Vector& result) {
  asm volatile("" : : "r"(&result) : "memory");
}

// As multiply_int16 does them (spqr_strip_int16.h), with DotSums and kMostSums of the instruction set.
template <typename Sums, int kSums>
std::int64_t peak_int16(std::int64_t rounds) {
  constexpr int kVectors = kSums / kPeakTokens;
  constexpr std::int64_t kQuadInput = 8;
  alignas(64) std::uint8_t codes[kVectors * kVectorBytes];
  std::fill(std::begin(codes), std::end(codes), std::uint8_t{5});
  // Sums stay at zero, whether these are bytes or words.
  constexpr std::int8_t kCancelling[] = {0, 100, 0, -100};
  std::int8_t x[kPeakTokens * kQuadInput];
  for (std::size_t i = 0; i < sizeof x; ++i) x[i] = kCancelling[i % 4];
  const std::uint8_t* codes_at = codes;
  const std::int8_t* x_at = x;
  forget(x_at);
  Sums sums[kPeakTokens][kVectors] = {};
#pragma GCC unroll 4
  for (std::int64_t round = 0; round < rounds; ++round) {
    forget(codes_at);
#pragma GCC unroll 4
    for (int t = 0; t < kPeakTokens; ++t) {
#pragma GCC unroll 2
      for (int i = 0; i < kVectors; ++i)
        add_dot(sums[t][i], load<u32v>(codes_at + kVectorBytes * i), x_at + kQuadInput * t);
    }
  }
  i32v all{};
  for (const auto& token : sums) {
    for (const Sums& sum : token) all += total(sum);
  }
  keep(all);
  return rounds * kPeakTokens * kVectors * SpqrLayout::kQuadColumns * kLanes;
}

// Fused multiply-adds where there are such. 4 kVectors sums: as many as registers hold beside the operands,
// and more than 8 where one takes 4 cycles and two begin in each.
template <int kVectors>
std::int64_t peak_f32(std::int64_t rounds) {
  alignas(64) float weights[kVectors * kLanes];
  std::fill(std::begin(weights), std::end(weights), 0.75F);
  const float x[kPeakTokens] = {0.5F, -0.5F, 0.25F, -0.25F};
  const float* weights_at = weights;
  const float* x_at = x;
  f32v sums[kPeakTokens][kVectors] = {};
#pragma GCC unroll 4
  for (std::int64_t round = 0; round < rounds; ++round) {
    forget(weights_at);
    forget(x_at);
#pragma GCC unroll 4
    for (int t = 0; t < kPeakTokens; ++t) {
#pragma GCC unroll 3
      for (int i = 0; i < kVectors; ++i)
        sums[t][i] += load<f32v>(weights_at + kLanes * i) * broadcast(x_at[t]);
    }
  }
  f32v all{};
  for (const auto& token : sums) {
    for (const f32v& sum : token) all += sum;
  }
  keep(all);
  return rounds * kPeakTokens * kVectors * kLanes;
}

}  // namespace
}  // namespace spqr
