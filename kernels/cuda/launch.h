// Launches of kernels, without <<<>>>: the same C++ for nvcc and for the emulation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <tuple>
#include <utility>

#include "kernels/cuda/check.h"
#include "kernels/cuda/gpu.h"
#include "kernels/cuda/scratch_sizes.h"

namespace spqr::cuda {

struct LaunchShape {
  dim3 grid;
  dim3 block;
  std::size_t shared_bytes =
      0;  // shared_memory<T>() of every block; more than 48 KB is asked for where it is needed
};

// Queues kernel(arguments...) in gpu.stream. `name` stands in errors and in what the emulation reports.
template <typename... Parameters, typename... Arguments>
void launch(const Gpu& gpu, const char* name, void (*kernel)(Parameters...), const LaunchShape& shape,
            const Arguments&... arguments) {
  static_assert(sizeof...(Parameters) == sizeof...(Arguments),
                "a kernel takes as many arguments as it is given");
#if defined(SPQR_CUDA_EMULATED)
  std::tuple<Parameters...> values(static_cast<Parameters>(arguments)...);
  (emulation::check_argument(name, static_cast<Parameters>(arguments)), ...);
  check(emulation::launch({name, shape.grid, shape.block, shape.shared_bytes, gpu.stream},
                          [kernel, values] { std::apply(kernel, values); }),
        name);
#else
  constexpr std::size_t kAlwaysAllowed = std::size_t{48} << 10U;
  const auto* function = reinterpret_cast<const void*>(kernel);
  if (shape.shared_bytes > kAlwaysAllowed) {
    check(cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(shape.shared_bytes)),
          name);
  }
  std::tuple<Parameters...> values(static_cast<Parameters>(arguments)...);
  std::apply(
      [&](auto&... value) {
        void* pointers[] = {static_cast<void*>(&value)..., nullptr};
        check(cudaLaunchKernel(function, shape.grid, shape.block, pointers, shape.shared_bytes, gpu.stream),
              name);
      },
      values);
#endif
}

}  // namespace spqr::cuda
