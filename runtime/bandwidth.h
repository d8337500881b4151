// How fast this machine reads memory, measured: what decoding speeds are compared with.
#pragma once

namespace spqr {

// 1e9 bytes per second that all threads together (0: one per core) read sequentially from a buffer far larger
// than any cache; the median of several passes.
double read_bandwidth_gb_per_s(int threads);

}  // namespace spqr
