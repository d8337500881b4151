// Strip kernels for AVX2, FMA, F16C and AVX-VNNI; compiled with these.
#include "kernels/cpu/spqr_strip_x86.h"

namespace spqr {
namespace {

constexpr int kMostSums = 4;

inline i32v add_byte_products(i32v sums, u32v codes, u32v x) {
  return reinterpret_cast<i32v>(_mm256_dpbusd_avx_epi32(
      reinterpret_cast<__m256i>(sums), reinterpret_cast<__m256i>(codes), reinterpret_cast<__m256i>(x)));
}

}  // namespace
}  // namespace spqr

#include "kernels/cpu/spqr_strip_bytes.h"
#include "kernels/cpu/spqr_strip_int16.h"
#include "kernels/cpu/spqr_strip_peak.h"

namespace spqr {

const SpqrStripKernels kSpqrStripAvx2Vnni{
    kAnyTokens,   multiply_strip_f32, multiply_strip_int16, round_block,
    add_outliers, dequantize_strip,   peak_f32<3>,          peak_int16<DotSums, kMostSums>};

}  // namespace spqr
