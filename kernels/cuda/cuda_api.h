// The CUDA runtime API and the language of kernels: NVIDIA's, or with SPQR_CUDA_EMULATED the emulation, which
// runs kernels on the CPU and needs no toolkit. Everything under kernels/cuda includes this and neither of
// the two itself.
#pragma once

#if defined(SPQR_CUDA_EMULATED)
#include "kernels/cuda/emulation/cuda_runtime.h"
#else
#include <cuda_runtime.h>
#endif
