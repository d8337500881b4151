// What this machine can do at most, measured: how fast it reads memory and how fast it multiplies. What
// speeds are compared with, and measured in turn with them: machines that others use too are not equally fast
// all the time.
#pragma once

#include <optional>
#include <vector>

#include "kernels/backend.h"
#include "kernels/host_memory.h"

namespace spqr {

// Nothing where it cannot be measured.
struct MachineRates {
  std::optional<double> read_gb_per_s;     // 1e9 bytes per second
  std::optional<double> peak_gflop_per_s;  // 1e9 additions and multiplications per second
};

// Which products the peak is of: what packed weights are multiplied with where activations are automatic, or
// f32 in any case.
enum class Products : std::uint8_t { packed, f32 };

class MachineLimits {
 public:
  // Takes 512 MiB, far more than caches hold.
  MachineLimits();

  // One pass of all threads together through that memory, sequentially: about 20 ms.
  double read_gb_per_s(int threads) const;
  // About 5 ms of nothing but products on all threads, with the kernels of options.isa.
  double peak_gflop_per_s(const BackendOptions& options, Products products) const;
  // Of what `backend`, made with `options`, runs on: both of the host, or how fast its own memory is read.
  MachineRates measure(Backend& backend, const BackendOptions& options, Products products) const;

 private:
  HostMemory memory_;
};

// Of each rate, of those that there are.
MachineRates median(const std::vector<MachineRates>& rates);
double median(std::vector<double> values);

}  // namespace spqr
