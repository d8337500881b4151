#include "models/k_quants.h"

#include <array>
#include <cstring>

#include "kernels/half.h"

namespace spqr {
namespace {

constexpr std::size_t kElements = static_cast<std::size_t>(kSuperBlock);

unsigned load(const std::byte* in, std::size_t i) {
  return std::to_integer<unsigned>(in[i]);
}

float load_f16(const std::byte* in) {
  std::uint16_t bits = 0;
  std::memcpy(&bits, in, sizeof bits);
  return f16_to_f32(bits);
}

// Code of element i in 64 bytes of 2-bit codes: each run of 32 bytes holds 128 elements, 32 to each bit pair.
unsigned two_bits(const std::byte* q, std::size_t i) {
  return load(q, i / 128 * 32 + i % 32) >> (i / 32 % 4 * 2) & 3U;
}

// Bit of element i in 32 bytes of high bits: 32 elements to each bit position.
unsigned high_bit(const std::byte* bits, std::size_t i) {
  return load(bits, i % 32) >> (i / 32) & 1U;
}

// Nibble of element i in 128 bytes: each run of 32 bytes holds 32 elements low, then 32 high.
unsigned nibble(const std::byte* q, std::size_t i) {
  return load(q, i / 64 * 32 + i % 32) >> (i / 32 % 2 * 4) & 15U;
}

struct ScaleAndMinimum {
  unsigned scale;
  unsigned minimum;
};

// Six bits each for 8 sub-blocks in 12 bytes: the first four whole, the others' upper bits above theirs.
ScaleAndMinimum six_bits(const std::byte* in, std::size_t j) {
  if (j < 4) return {load(in, j) & 63U, load(in, j + 4) & 63U};
  return {(load(in, j + 4) & 15U) | (load(in, j - 4) >> 6 << 4),
          load(in, j + 4) >> 4 | (load(in, j) >> 6 << 4)};
}

// Six bits for each of 16 sub-blocks in 12 bytes: 8 bytes of low nibbles, then high nibbles, then bit pairs.
int six_bit_scale(const std::byte* in, std::size_t j) {
  const unsigned low = load(in, j % 8) >> (j / 8 * 4) & 15U;
  const unsigned high = load(in, 8 + j % 4) >> (j / 4 * 2) & 3U;
  return static_cast<int>(low | high << 4) - 32;
}

// Q4_K, and Q5_K where there are high bits.
void widen_with_minima(const std::byte* in, const std::byte* high_bits, const std::byte* q, float* out) {
  const float d = load_f16(in);
  const float e = load_f16(in + 2);
  for (std::size_t j = 0; j < 8; ++j) {
    const auto [s, t] = six_bits(in + 4, j);
    const float scale = d * static_cast<float>(s);
    const float minimum = e * static_cast<float>(t);
    for (std::size_t i = 32 * j; i < 32 * (j + 1); ++i) {
      const unsigned high = high_bits == nullptr ? 0U : high_bit(high_bits, i) << 4;
      out[i] = scale * static_cast<float>(nibble(q, i) | high) - minimum;
    }
  }
}

}  // namespace

void widen_q2_k(const std::byte* in, float* out, std::size_t blocks) {
  for (; blocks > 0; --blocks, in += 84, out += kElements) {
    const float d = load_f16(in + 80);
    const float e = load_f16(in + 82);
    for (std::size_t i = 0; i < kElements; ++i) {
      const unsigned both = load(in, i / 16);
      out[i] = d * static_cast<float>(both & 15U) * static_cast<float>(two_bits(in + 16, i)) -
               e * static_cast<float>(both >> 4);
    }
  }
}

void widen_q3_k(const std::byte* in, float* out, std::size_t blocks) {
  for (; blocks > 0; --blocks, in += 110, out += kElements) {
    const float d = load_f16(in + 108);
    for (std::size_t i = 0; i < kElements; ++i) {
      const int code = static_cast<int>(two_bits(in + 32, i) | high_bit(in, i) << 2) - 4;
      out[i] = d * static_cast<float>(six_bit_scale(in + 96, i / 16)) * static_cast<float>(code);
    }
  }
}

void widen_q4_k(const std::byte* in, float* out, std::size_t blocks) {
  for (; blocks > 0; --blocks, in += 144, out += kElements) widen_with_minima(in, nullptr, in + 16, out);
}

void widen_q5_k(const std::byte* in, float* out, std::size_t blocks) {
  for (; blocks > 0; --blocks, in += 176, out += kElements) widen_with_minima(in, in + 16, in + 48, out);
}

void widen_q6_k(const std::byte* in, float* out, std::size_t blocks) {
  for (; blocks > 0; --blocks, in += 210, out += kElements) {
    const float d = load_f16(in + 208);
    for (std::size_t i = 0; i < kElements; ++i) {
      // Halves of 128: low bits are nibbles of 64 bytes, first the low ones; high bits are pairs of 32 bytes.
      const unsigned low = load(in, i / 128 * 64 + i % 64) >> (i / 64 % 2 * 4) & 15U;
      const unsigned high = two_bits(in + 128, i);
      const auto scale = static_cast<float>(static_cast<std::int8_t>(in[192 + i / 16]));
      out[i] = d * scale * static_cast<float>(static_cast<int>(low | high << 4) - 32);
    }
  }
}

}  // namespace spqr
