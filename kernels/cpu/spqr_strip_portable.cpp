#include "kernels/cpu/spqr_strip_body.h"

namespace spqr {

const SpqrStripKernels kSpqrStripPortable{matvec_any, dequantize_any};

}  // namespace spqr
