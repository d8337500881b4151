// Codes of 1..8 bits as bit planes, the way packed matrices store weight codes and statistic codes.
//   bits is a sum of plane widths out of 4, 2, 1, widest first (3 = 2 + 1, 7 = 4 + 2 + 1, 8 = 4 + 4). The
//   first plane holds the lowest bits of every code. With L = ceil(count / 8), a plane of width p has p L
//   bytes and holds code i at byte i mod (p L), shifted left by p floor(i / (p L)); the planes follow each
//   other.
// So a run of p L consecutive codes comes out of p L consecutive bytes with one shift and one mask.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace spqr {

// Bytes of `count` codes.
constexpr std::int64_t plane_bytes(std::int64_t count, int bits) {
  return (count + 7) / 8 * bits;
}

// Width of the plane that holds bit `low` of a code as its lowest.
constexpr int plane_width(int bits, int low) {
  const int left = bits - low;
  return left >= 4 ? 4 : left >= 2 ? 2 : 1;
}

// Code i of `count`.
inline std::uint8_t read_code(const std::byte* in, std::int64_t count, int bits, std::int64_t i) {
  const std::int64_t line = (count + 7) / 8;
  unsigned code = 0;
  for (int low = 0; low < bits; low += plane_width(bits, low)) {
    const int width = plane_width(bits, low);
    const auto byte = std::to_integer<unsigned>(in[low * line + i % (width * line)]);
    code |= (byte >> (width * (i / (width * line))) & ((1U << width) - 1)) << low;
  }
  return static_cast<std::uint8_t>(code);
}

// in (plane_bytes) -> codes (count)
inline void unpack_planes(const std::byte* in, std::int64_t count, int bits, std::uint8_t* codes) {
  const std::int64_t line = (count + 7) / 8;
  std::memset(codes, 0, static_cast<std::size_t>(count));
  for (int low = 0; low < bits; low += plane_width(bits, low)) {
    const int width = plane_width(bits, low);
    const unsigned mask = (1U << width) - 1;
    const auto* plane = reinterpret_cast<const std::uint8_t*>(in + low * line);
    for (int shift = 0; shift < 8; shift += width) {
      const std::int64_t first = shift * line;
      const std::int64_t run = std::min(width * line, count - first);
      for (std::int64_t i = 0; i < run; ++i) {
        codes[first + i] = static_cast<std::uint8_t>(codes[first + i] | ((plane[i] >> shift & mask) << low));
      }
    }
  }
}

// codes (count) -> out (plane_bytes)
inline void pack_planes(const std::uint8_t* codes, std::int64_t count, int bits, std::byte* out) {
  const std::int64_t line = (count + 7) / 8;
  std::memset(out, 0, static_cast<std::size_t>(plane_bytes(count, bits)));
  for (int low = 0; low < bits; low += plane_width(bits, low)) {
    const int width = plane_width(bits, low);
    const unsigned mask = (1U << width) - 1;
    auto* plane = reinterpret_cast<std::uint8_t*>(out + low * line);
    for (int shift = 0; shift < 8; shift += width) {
      const std::int64_t first = shift * line;
      const std::int64_t run = std::min(width * line, count - first);
      for (std::int64_t i = 0; i < run; ++i) {
        plane[i] = static_cast<std::uint8_t>(plane[i] | ((codes[first + i] >> low & mask) << shift));
      }
    }
  }
}

}  // namespace spqr
