// Where everything of a packed matrix lies on a GPU: the file's information (models/FORMAT.md) in the order
// in which tensor cores take it. `dense` of a placed SpqrMatrix is in this layout, everything else of it as
// it was.
//
//   m is padded to strips of 64 rows, n to panels of 64 columns; a panel has 4 blocks of 16 columns, a strip
//   4 tiles of 16 rows. Codes that pad are 0, statistics of padding rows too.
//
// Codes: those of a strip and a block, 64 x 16, are shared out to the 32 lanes of a warp as fragments of
//   mma.m16n8k16. With g = lane / 4 and t = lane % 4, register r = 0..3 of tile i is
//       row 16 i + g + 8 (r % 2), columns 8 (r / 2) + 2 t and 8 (r / 2) + 2 t + 1;
//   registers 0, 1 and registers 2, 3 by themselves are fragments of m16n8k8. They are bit planes with widths
//   as in kernels/bit_planes.h (3 = 2 + 1), low bits first; a plane of width p is p words of 32 bits a lane:
//
//       bit 31    28 27    24 23    20 19    16 15    12 11     8 7      4 3      0
//          +--------+--------+--------+--------+--------+--------+--------+--------+
//          |  r = 3 |  r = 2 |  r = 1 |  r = 0 |  r = 3 |  r = 2 |  r = 1 |  r = 0 |
//          +--------+--------+--------+--------+--------+--------+--------+--------+
//          |      second column of the pair    |       first column of the pair    |
//
//   A nibble of word j of the plane holds tile j (p = 4); tile 2 j in bits 0, 1 and tile 2 j + 1 in bits 2, 3
//   (p = 2); tile i in bit i (p = 1): tile i is in word i p / 4, bit i p % 4. So planes of 4 bits together
//   become nibbles, four pairs at once, and the nibbles of a pair are 16 bits apart: one lop3 with 0x6400 in
//   both halves makes two f16 numbers, 1024 + code.
//   Word w of block b of a lane is component b of the uint4
//       ((strip panels + panel) bits + w) 32 + lane,
//   so that a warp loads 512 bytes in a row, and a panel, and a strip, are contiguous.
//
// Fields, after the codes, of quantized statistics only: those of group j of strip i are `width` words from
//   word (i groups + j) width on, width = 2 (scale_bits + zero_bits) <= 32. A lane's field is their bits
//   width lane and up, counted from the low bit of the first word. Of row 16 t + g of the strip and the one 8
//   below it, in this order: scale code, scale code below, zero code, zero code below. These are the rows
//   of which a lane holds sums (spqr_matvec.cu).
//
// Quads, after the fields, 8 bytes each, f16, of every strip and group: (ss, sz, zs, zz) of the 64 / beta2
//   tiles of beta2 rows; or unquantized, (s, z, s below, z below) of every lane, rows as in the fields.
//
// Peaks, after the quads: of every strip an f32, the largest |s| max(|z|, |2^bits - 1 - z|) over its rows and
//   groups; outliers aside, no weight of it is larger.
//
// `factor` is not applied to any of these. Each part begins at a multiple of 256 bytes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/spqr_format.h"

namespace spqr::cuda {

// Plain numbers, to be passed to kernels. Extents of a matrix fit in 31 bits, products of them need not.
struct SpqrDeviceLayout {
  static constexpr int kStripRows = 64;
  static constexpr int kPanelColumns = 64;
  static constexpr int kBlockColumns = 16;
  static constexpr int kBlocks = kPanelColumns / kBlockColumns;
  static constexpr int kTiles = 4;  // of 16 rows
  static constexpr int kLanes = 32;

  // Throws std::invalid_argument for a format or extents that cannot be.
  SpqrDeviceLayout(const SpqrFormat& format, std::int64_t m, std::int64_t n);
  std::size_t bytes() const { return static_cast<std::size_t>(total_bytes); }

  std::int32_t m, n;
  std::int32_t strips, panels, groups;
  std::int32_t bits;
  std::int32_t group_shift;  // the group of a column is column >> group_shift
  std::int32_t beta2_shift;
  std::int32_t scale_bits, zero_bits;  // SpqrFormat::kUnquantized: there are no fields
  std::int32_t field_words;            // of a strip and group, and bits of a lane's field
  std::int32_t quads;                  // of a strip and group
  std::int64_t fields_offset, quads_offset, peaks_offset;
  std::int64_t total_bytes;
};

}  // namespace spqr::cuda
