// What a kernel knows of the thread that runs it, and how threads of a block wait for each other. Every
// thread is a fiber; the threads of a block take turns on one thread of the operating system and change
// places only where they wait, so that everything between two waits is atomic.
#pragma once

#include "kernels/cuda/emulation/vector_types.h"

namespace spqr::emulation {

inline constexpr int kLanes = 32;

struct Thread {
  uint3 index;  // threadIdx
  uint3 block;  // blockIdx
  dim3 block_shape;
  dim3 grid_shape;
  unsigned number;  // in the block, x fastest
  unsigned lane;
};

// The thread whose kernel runs; null outside of kernels.
extern constinit thread_local Thread* current;

// A place in the source.
struct Place {
  const char* file;
  int line;
};

// Something that the lanes of a warp do together. `run` is called once, when every lane of `mask` has come
// with its payload; it reads what the lanes brought and leaves there what they get.
struct Collective {
  const char* name;
  void (*run)(void* const payloads[kLanes], unsigned mask);
};

// Waits until every lane of `mask` has come to the same collective at the same place of the source.
void collective(const Collective& what, unsigned mask, void* payload, Place where);

// Waits until every thread of the block has come to the barrier.
void barrier(Place where);

// The kernel has done something that it must not do: ends the launch with one sentence, "kernel 'name', block
// (x, y, z), thread (x, y, z): `what`". Does not unwind the kernel.
[[noreturn]] void fail(const char* what);

// The shared memory of the current block.
void* shared_memory();

}  // namespace spqr::emulation
