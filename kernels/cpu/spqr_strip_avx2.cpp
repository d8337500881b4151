// Strip kernels for AVX2, FMA and F16C; compiled with these. There are no dot products of bytes: x is 16-bit
// words, of a quad of columns first the even ones and then the odd ones, which is how codes come out of
// bytes.
#include "kernels/cpu/spqr_strip_x86.h"

namespace spqr {
namespace {

inline void store_codes(std::int8_t* out, i32v c) {
  alignas(32) std::int16_t words[kLanes];
  store(words, __builtin_convertvector(c, i16v));
  for (int i = 0; i < kLanes; i += 4) {
    const std::int16_t quad[] = {words[i], words[i + 2], words[i + 1], words[i + 3]};
    std::memcpy(out + 2 * i, quad, sizeof quad);
  }
}

constexpr int kMostSums = 8;
struct DotSums {
  i32v of{};
};

inline i32v total(const DotSums& sums) {
  return sums.of;
}

inline i32v word_products(u32v codes, u32v x) {
  return reinterpret_cast<i32v>(
      _mm256_madd_epi16(reinterpret_cast<__m256i>(codes), reinterpret_cast<__m256i>(x)));
}

inline __attribute__((always_inline)) void add_dot(DotSums& sums, u32v codes, const std::int8_t* x) {
  sums.of += word_products(codes & 0x00FF00FFU, broadcast(load<std::uint32_t>(x)));
  sums.of += word_products(codes >> 8 & 0x00FF00FFU, broadcast(load<std::uint32_t>(x + 4)));
}

}  // namespace
}  // namespace spqr

#include "kernels/cpu/spqr_strip_int16.h"
#include "kernels/cpu/spqr_strip_peak.h"

namespace spqr {

const SpqrStripKernels kSpqrStripAvx2{
    64,           multiply_strip_f32, multiply_strip_int16, round_block,
    add_outliers, dequantize_strip,   peak_f32<3>,          peak_int16<DotSums, kMostSums>};

}  // namespace spqr
