// Checks that the solvers share.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace spqr {

// Throws std::invalid_argument unless rows and columns are positive and `data` holds rows * columns values.
void check_shape(std::span<const float> data, std::int64_t rows, std::int64_t columns,
                 const std::string& name);

// Throws std::runtime_error naming the first NaN or infinity of data (rows, columns).
void check_finite(std::span<const float> data, std::int64_t columns, const std::string& name);

}  // namespace spqr
