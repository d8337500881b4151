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
  const Bf16Kernels* bf16 = nullptr;  // null: there are none
};

// Of an instruction set that this processor has.
const KernelTables& kernel_tables(Isa isa);
// Of the best that it has.
const KernelTables& best_kernel_tables();

}  // namespace spqr
