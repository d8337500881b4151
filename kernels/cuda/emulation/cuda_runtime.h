// Stands in for NVIDIA's <cuda_runtime.h>: the language of kernels and the part of the runtime API that this
// project uses, on the CPU. A kernel is compiled as an ordinary function; emulation::launch runs it for every
// thread of a grid. What a CUDA device leaves undefined (a barrier that not all reach, a write past an
// allocation, ...) is an exception with one sentence here.
#pragma once

#include "kernels/cuda/emulation/builtins.h"
#include "kernels/cuda/emulation/emulation.h"
#include "kernels/cuda/emulation/runtime_api.h"
#include "kernels/cuda/emulation/thread.h"
#include "kernels/cuda/emulation/vector_types.h"
