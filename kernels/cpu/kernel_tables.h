// The inner loops of one instruction set.
#pragma once

#include "kernels/cpu/bf16_kernels.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/spqr_strip.h"
#include "kernels/cpu/vector_kernels.h"

namespace spqr {

struct KernelTables {
  const cpu::VectorKernels& vectors;
  const SpqrStripKernels& strips;
  // Up to so many tokens are multiplied faster with weights as they are stored than with tiles of them
  // (linear_tiles.cpp), in f32: packed weights, and dense ones.
  std::int64_t few_packed;
  std::int64_t few_dense;
  const Bf16Kernels* bf16 = nullptr;  // null: there are none
};

// Of an instruction set that this processor has.
const KernelTables& kernel_tables(Isa isa);
// Of the best that it has.
const KernelTables& best_kernel_tables();

}  // namespace spqr
