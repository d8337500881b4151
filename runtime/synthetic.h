// Models of random weights in the shape of real ones, packed directly: what speed and memory are measured on.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/quantize_pipeline.h"

namespace spqr {

// Names of the shapes that there are.
std::vector<std::string> synthetic_shapes();

// config.json of a named shape, or the contents of the file at a path. Throws OptionsError for a
// name that is neither.
std::string synthetic_config(const std::string& shape);

// Writes `job.out` with job.settings and random weights of standard deviation 0.02,
// settings.synthetic_outlier_share of them outliers, without a tokenizer. The same seed gives the same file.
// Memory: one matrix.
QuantizeSummary write_synthetic(const std::string& shape, const QuantizeJob& job, QuantizeObserver& observer);

// Random parts of a matrix: every code alike likely.   perm: empty or the order of its columns.
SpqrParts random_parts(const SpqrFormat& format, std::int64_t m, std::int64_t n, double outlier_share,
                       std::uint64_t seed);

}  // namespace spqr
