#include "kernels/cpu/kernel_tables.h"

namespace spqr {

const KernelTables& kernel_tables(Isa isa) {
  static const KernelTables kPortable{cpu::kVectorPortable, kSpqrStripPortable, 12, 1};
#if defined(__x86_64__)
  static const KernelTables kAvx2{cpu::kVectorAvx2, kSpqrStripAvx2, 16, 12};
  static const KernelTables kAvx2Vnni{cpu::kVectorAvx2, kSpqrStripAvx2Vnni, 16, 12};
  static const KernelTables kAvx512{cpu::kVectorAvx512, kSpqrStripAvx512, 24, 12};
  static const KernelTables kAvx512Bf16{cpu::kVectorAvx512, kSpqrStripAvx512, 24, 12, &kBf16Avx512};
  static const KernelTables kAmxBf16{cpu::kVectorAvx512, kSpqrStripAvx512, 24, 12, &kBf16Amx};
  switch (isa) {
    case Isa::amx_bf16:
      return kAmxBf16;
    case Isa::avx512_bf16:
      return kAvx512Bf16;
    case Isa::avx512:
      return kAvx512;
    case Isa::avx2_vnni:
      return kAvx2Vnni;
    case Isa::avx2:
      return kAvx2;
    default:
      break;
  }
#else
  static_cast<void>(isa);
#endif
  return kPortable;
}

const KernelTables& best_kernel_tables() {
  return kernel_tables(present_isas().front());
}

}  // namespace spqr
