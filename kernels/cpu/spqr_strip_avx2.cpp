// Compiled with AVX2, FMA and F16C (see CMakeLists.txt).
#include "kernels/cpu/spqr_strip_body.h"

namespace spqr {

const SpqrStripKernels kSpqrStripAvx2{matvec_any, dequantize_any};

}  // namespace spqr
