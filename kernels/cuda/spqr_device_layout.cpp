#include "kernels/cuda/spqr_device_layout.h"

#include <bit>
#include <limits>
#include <stdexcept>
#include <string>

namespace spqr::cuda {
namespace {

// A whole row is one group: no column reaches this bit.
constexpr std::int32_t kWholeRowShift = 31;
constexpr std::int64_t kAlignment = 256;
// Padding included.
constexpr std::int64_t kMostExtent = std::numeric_limits<std::int32_t>::max() - 128;

std::int32_t shift_of(std::int64_t power_of_two) {
  return std::countr_zero(static_cast<std::uint64_t>(power_of_two));
}

std::int64_t round_up(std::int64_t value, std::int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

std::int32_t extent_of(std::int64_t extent) {
  if (extent < 1 || extent > kMostExtent) {
    throw std::invalid_argument("a packed matrix on a GPU has 1 to " + std::to_string(kMostExtent) +
                                " rows and columns, not " + std::to_string(extent));
  }
  return static_cast<std::int32_t>(extent);
}

}  // namespace

SpqrDeviceLayout::SpqrDeviceLayout(const SpqrFormat& format, std::int64_t rows, std::int64_t columns)
    : m(extent_of(rows)), n(extent_of(columns)) {
  validate(format);
  const bool quantized = format.quantized_statistics();
  strips = (m + kStripRows - 1) / kStripRows;
  panels = (n + kPanelColumns - 1) / kPanelColumns;
  groups = static_cast<std::int32_t>(format.groups(n));
  bits = format.bits;
  group_shift = format.beta1 == SpqrFormat::kWholeRow ? kWholeRowShift : shift_of(format.beta1);
  beta2_shift = shift_of(quantized ? format.beta2 : kStripRows);
  scale_bits = format.scale_bits;
  zero_bits = format.zero_bits;
  field_words = quantized ? 2 * (scale_bits + zero_bits) : 0;
  quads = quantized ? kStripRows >> beta2_shift : kLanes;

  const std::int64_t all_groups = std::int64_t{strips} * groups;
  const std::int64_t panel_bytes = std::int64_t{bits} * kLanes * kBlocks * sizeof(std::uint32_t);
  fields_offset = std::int64_t{strips} * panels * panel_bytes;
  quads_offset =
      round_up(fields_offset + all_groups * field_words * std::int64_t{sizeof(std::uint32_t)}, kAlignment);
  peaks_offset =
      round_up(quads_offset + all_groups * quads * 4 * std::int64_t{sizeof(std::uint16_t)}, kAlignment);
  total_bytes = round_up(peaks_offset + strips * std::int64_t{sizeof(float)}, kAlignment);
}

}  // namespace spqr::cuda
