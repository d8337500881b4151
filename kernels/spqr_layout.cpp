#include "kernels/spqr_layout.h"

#include <stdexcept>
#include <string>

namespace spqr {
namespace {

// Statistics of at least 8 groups fill whole cache lines exactly, and 256 columns of codes make them rare
// enough.
constexpr std::int64_t kMinChunkColumns = 256;
constexpr std::int64_t kMinChunkGroups = 8;
// Far beyond any matrix; keeps the bytes of one strip within 63 bits.
constexpr std::int64_t kMaxExtent = std::int64_t{1} << 48;

std::int64_t round_up(std::int64_t value, std::int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

[[noreturn]] void refuse_size(std::int64_t m, std::int64_t n) {
  throw std::overflow_error("a packed matrix of " + std::to_string(m) + " x " + std::to_string(n) +
                            " is larger than any file");
}

}  // namespace

SpqrLayout::SpqrLayout(const SpqrFormat& format, std::int64_t m, std::int64_t n)
    : format_(format), m_(m), n_(n) {
  validate(format);
  if (m < 1 || n < 1) {
    throw std::invalid_argument("a packed matrix has at least one row and one column, not " +
                                std::to_string(m) + " x " + std::to_string(n));
  }
  if (m > kMaxExtent || n > kMaxExtent) refuse_size(m, n);
  group_columns_ = format.group_columns(n);
  chunk_columns_ =
      format.beta1 == SpqrFormat::kWholeRow ? n : std::max(kMinChunkColumns, kMinChunkGroups * format.beta1);
  strip_bytes_ = strip_bytes(kStripRows);
  const std::int64_t rest = m % kStripRows;
  std::int64_t last = rest == 0 ? 0 : strip_bytes(rest);
  if (__builtin_mul_overflow(m / kStripRows, strip_bytes_, &bytes_) ||
      __builtin_add_overflow(last, kAlignment, &last) || __builtin_add_overflow(bytes_, last, &bytes_)) {
    refuse_size(m, n);
  }
  bytes_ = round_up(bytes_ - kAlignment, kAlignment);
}

std::int64_t SpqrLayout::group_bytes(std::int64_t height) const {
  if (!format_.quantized_statistics()) return 4 * height;
  return zero_codes_offset(height) + plane_bytes(height, format_.zero_bits);
}

std::int64_t SpqrLayout::chunk_groups(std::int64_t chunk) const {
  return std::min(groups_per_chunk(), groups() - chunk * groups_per_chunk());
}

std::int64_t SpqrLayout::chunk_offset(std::int64_t height, std::int64_t chunk) const {
  const std::int64_t codes =
      plane_bytes(height * kUnitColumns, format_.bits) * (chunk_columns_ / kUnitColumns);
  return chunk * (groups_per_chunk() * group_bytes(height) + codes);
}

std::int64_t SpqrLayout::group_offset(std::int64_t height, std::int64_t group) const {
  const std::int64_t chunk = group / groups_per_chunk();
  return chunk_offset(height, chunk) + (group - chunk * groups_per_chunk()) * group_bytes(height);
}

std::int64_t SpqrLayout::unit_offset(std::int64_t height, std::int64_t unit) const {
  const std::int64_t chunk = unit * kUnitColumns / chunk_columns_;
  const std::int64_t in_chunk = unit - chunk * (chunk_columns_ / kUnitColumns);
  return chunk_offset(height, chunk) + chunk_groups(chunk) * group_bytes(height) +
         in_chunk * plane_bytes(height * kUnitColumns, format_.bits);
}

std::int64_t SpqrLayout::strip_bytes(std::int64_t height) const {
  const std::int64_t last = units() - 1;
  const std::int64_t bytes = unit_offset(height, last) + plane_bytes(height * unit_width(last), format_.bits);
  return height == kStripRows ? round_up(bytes, kAlignment) : bytes;
}

}  // namespace spqr
