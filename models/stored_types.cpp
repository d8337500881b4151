#include "models/stored_types.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "kernels/half.h"
#include "models/k_quants.h"

namespace spqr {
namespace {

constexpr std::size_t kBlock = 32;  // elements of a quantized block

std::uint16_t load_u16(const std::byte* in) {
  std::uint16_t value = 0;
  std::memcpy(&value, in, sizeof value);
  return value;
}

void widen_f32(const std::byte* in, float* out, std::size_t count) {
  std::memcpy(out, in, count * sizeof(float));
}

// Nothing says that a tensor is aligned in its file, so it passes through a small aligned buffer.
template <void (*kConvert)(const std::uint16_t*, float*, std::size_t)>
void widen_16_bit(const std::byte* in, float* out, std::size_t count) {
  std::array<std::uint16_t, 2048> buffer;
  while (count > 0) {
    const std::size_t chunk = std::min(count, buffer.size());
    std::memcpy(buffer.data(), in, chunk * sizeof(std::uint16_t));
    kConvert(buffer.data(), out, chunk);
    in += chunk * sizeof(std::uint16_t);
    out += chunk;
    count -= chunk;
  }
}

void widen_q8_0(const std::byte* in, float* out, std::size_t blocks) {
  for (; blocks > 0; --blocks, in += 34, out += kBlock) {
    const float d = f16_to_f32(load_u16(in));
    const std::byte* q = in + 2;
    for (std::size_t i = 0; i < kBlock; ++i) out[i] = d * static_cast<float>(static_cast<std::int8_t>(q[i]));
  }
}

void widen_q4_0(const std::byte* in, float* out, std::size_t blocks) {
  for (; blocks > 0; --blocks, in += 18, out += kBlock) {
    const float d = f16_to_f32(load_u16(in));
    const std::byte* q = in + 2;
    for (std::size_t i = 0; i < kBlock / 2; ++i) {
      out[i] = d * static_cast<float>(std::to_integer<int>(q[i] & std::byte{15}) - 8);
      out[i + kBlock / 2] = d * static_cast<float>(std::to_integer<int>(q[i] >> 4) - 8);
    }
  }
}

void widen_q4_1(const std::byte* in, float* out, std::size_t blocks) {
  for (; blocks > 0; --blocks, in += 20, out += kBlock) {
    const float d = f16_to_f32(load_u16(in));
    const float m = f16_to_f32(load_u16(in + 2));
    const std::byte* q = in + 4;
    for (std::size_t i = 0; i < kBlock / 2; ++i) {
      out[i] = d * static_cast<float>(std::to_integer<int>(q[i] & std::byte{15})) + m;
      out[i + kBlock / 2] = d * static_cast<float>(std::to_integer<int>(q[i] >> 4)) + m;
    }
  }
}

// Five bits of elements i and i + 16.
struct Pair {
  int low;
  int high;
};

Pair five_bits(const std::byte* high_bits, const std::byte* q, std::size_t i) {
  std::uint32_t bits = 0;
  std::memcpy(&bits, high_bits, sizeof bits);
  return {std::to_integer<int>(q[i] & std::byte{15}) | static_cast<int>((bits >> i & 1U) << 4),
          std::to_integer<int>(q[i] >> 4) | static_cast<int>((bits >> (i + kBlock / 2) & 1U) << 4)};
}

void widen_q5_0(const std::byte* in, float* out, std::size_t blocks) {
  for (; blocks > 0; --blocks, in += 22, out += kBlock) {
    const float d = f16_to_f32(load_u16(in));
    for (std::size_t i = 0; i < kBlock / 2; ++i) {
      const auto [low, high] = five_bits(in + 2, in + 6, i);
      out[i] = d * static_cast<float>(low - 16);
      out[i + kBlock / 2] = d * static_cast<float>(high - 16);
    }
  }
}

void widen_q5_1(const std::byte* in, float* out, std::size_t blocks) {
  for (; blocks > 0; --blocks, in += 24, out += kBlock) {
    const float d = f16_to_f32(load_u16(in));
    const float m = f16_to_f32(load_u16(in + 2));
    for (std::size_t i = 0; i < kBlock / 2; ++i) {
      const auto [low, high] = five_bits(in + 4, in + 8, i);
      out[i] = d * static_cast<float>(low) + m;
      out[i + kBlock / 2] = d * static_cast<float>(high) + m;
    }
  }
}

constexpr std::array<StoredType, 13> kTypes{{
    {"F32", 1, 4, widen_f32},
    {"F16", 1, 2, widen_16_bit<f16_to_f32>},
    {"BF16", 1, 2, widen_16_bit<bf16_to_f32>},
    {"Q8_0", kBlock, 34, widen_q8_0},
    {"Q4_0", kBlock, 18, widen_q4_0},
    {"Q4_1", kBlock, 20, widen_q4_1},
    {"Q5_0", kBlock, 22, widen_q5_0},
    {"Q5_1", kBlock, 24, widen_q5_1},
    {"Q2_K", kSuperBlock, 84, widen_q2_k},
    {"Q3_K", kSuperBlock, 110, widen_q3_k},
    {"Q4_K", kSuperBlock, 144, widen_q4_k},
    {"Q5_K", kSuperBlock, 176, widen_q5_k},
    {"Q6_K", kSuperBlock, 210, widen_q6_k},
}};

}  // namespace

const StoredType* find_stored_type(std::string_view name) {
  for (const StoredType& type : kTypes) {
    if (type.name == name) return &type;
  }
  return nullptr;
}

std::int64_t stored_bytes(const StoredType& type, std::int64_t elements) {
  std::int64_t bytes = 0;
  if (elements < 0 || elements % type.block_elements != 0) return -1;
  if (__builtin_mul_overflow(elements / type.block_elements, type.block_bytes, &bytes)) return -1;
  return bytes;
}

std::int64_t element_count(std::span<const std::int64_t> shape) {
  std::int64_t count = 1;
  for (const std::int64_t extent : shape) {
    if (extent < 0 || __builtin_mul_overflow(count, extent, &count)) return -1;
  }
  return count;
}

void widen(const StoredType& type, std::span<const std::byte> in, float* out) {
  if (in.empty()) return;  // it may have no address
  type.widen_blocks(in.data(), out, in.size() / static_cast<std::size_t>(type.block_bytes));
}

}  // namespace spqr
