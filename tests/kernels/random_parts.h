// Random quantized matrices: every setting, any shape.
#pragma once

#include <cstdint>
#include <random>
#include <string>

#include "kernels/spqr_format.h"

namespace spqr {

enum class Outliers : std::uint8_t { none, some, everywhere };

// "3 bits, 16 x 16, statistics 3 + 3, 64 x 80, outliers 1"
std::string describe(const SpqrParts& parts, Outliers outliers);

SpqrFormat random_format(std::mt19937& random);

// All statistics and addends are f16 values, scales times one power of two, so that packing loses nothing.
// Zero points may lie far outside of the range of codes, as real ones do.
SpqrParts random_parts(const SpqrFormat& format, std::int64_t m, std::int64_t n, Outliers outliers,
                       std::mt19937& random);

}  // namespace spqr
