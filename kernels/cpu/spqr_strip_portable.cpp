// Strip kernels for any CPU.
#include "kernels/cpu/spqr_vectors.h"

namespace spqr {
namespace {

// 8 bytes -> f32.
inline f32x8 bytes_to_f32(const void* bytes) {
  const auto codes = load<u8x8>(bytes);
  f32x8 values;
  for (int i = 0; i < kLanes; ++i) values[i] = static_cast<float>(codes[i]);
  return values;
}

}  // namespace
}  // namespace spqr

#include "kernels/cpu/spqr_strip_body.h"

namespace spqr {

const SpqrStripKernels kSpqrStripPortable{matvec_any, dequantize_any};

}  // namespace spqr
