// How fast a GPU reads its memory: what the speed of kernels is compared with.
#pragma once

#include <optional>

#include "kernels/cuda/gpu.h"

namespace spqr::cuda {

// Bytes per second, the best of a few passes through memory that caches do not hold, up to 1 GiB of it, which
// is taken for the while: milliseconds. Nothing where so little is free that caches would hold it.
std::optional<double> read_bandwidth(const Gpu& gpu);

}  // namespace spqr::cuda
