// Strip kernels for AVX-512 F, BW, DQ, VL and VNNI; compiled with these.
#define SPQR_LANES 16
#include "kernels/cpu/spqr_strip_x86.h"

namespace spqr {
namespace {

constexpr int kMostSums = 8;

inline i32v add_byte_products(i32v sums, u32v codes, u32v x) {
  return reinterpret_cast<i32v>(_mm512_dpbusd_epi32(
      reinterpret_cast<__m512i>(sums), reinterpret_cast<__m512i>(codes), reinterpret_cast<__m512i>(x)));
}

}  // namespace
}  // namespace spqr

#include "kernels/cpu/spqr_strip_bytes.h"
#include "kernels/cpu/spqr_strip_int16.h"
#include "kernels/cpu/spqr_strip_peak.h"

namespace spqr {

const SpqrStripKernels kSpqrStripAvx512{
    kAnyTokens,   multiply_strip_f32, multiply_strip_int16, round_block,
    add_outliers, dequantize_strip,   peak_f32<3>,          peak_int16<DotSums, kMostSums>};

}  // namespace spqr
