// Every function of device/instructions.cuh against what the PTX ISA says of its instruction, computed here
// from the numbers' definitions. The same tests run on a GPU and on the emulation.
#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "kernels/cuda/cuda_backend.h"
#include "tests/kernels/cuda_array.h"
#include "tests/kernels/cuda_instructions_kernels.h"

namespace spqr::cuda {
namespace {

using Half = std::uint16_t;

// The value of a finite half, from the definition of the format.
double value_of(Half bits) {
  const int exponent = bits >> 10 & 0x1F;
  const int mantissa = bits & 0x3FF;
  const double magnitude =
      exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
  return (bits & 0x8000) != 0 ? -magnitude : magnitude;
}
bool is_nan(Half bits) {
  return (bits & 0x7FFF) > 0x7C00;
}
bool is_finite(Half bits) {
  return (bits & 0x7FFF) < 0x7C00;
}
Half negated(Half bits) {
  return bits ^ 0x8000;
}
std::uint32_t pair_of(Half low, Half high) {
  return static_cast<std::uint32_t>(high) << 16U | low;
}

// Multiples of 2^-48, which all products and sums of halves are.
__extension__ using Exact = __int128;
Exact exact(Half bits, int shift) {
  return static_cast<Exact>(std::ldexp(value_of(bits), 24)) << shift;
}
// The half nearest to a number of multiples of 2^-48, of two the even one; `zero` where it is 0.
Half nearest(Exact value, Half zero) {
  if (value == 0) return zero;
  const Exact magnitude = value < 0 ? -value : value;
  Half below = 0;  // the largest half that is not larger
  for (Half step = 0x4000; step > 0; step /= 2) {
    const auto next = static_cast<Half>(below + step);
    if (next < 0x7C00 && exact(next, 24) <= magnitude) below = next;
  }
  const Exact next =
      below == 0x7BFF ? static_cast<Exact>(65536) << 48 : exact(static_cast<Half>(below + 1), 24);
  const Exact twice = 2 * magnitude;
  const Exact sum = exact(below, 24) + next;
  const bool up = twice > sum || (twice == sum && (below & 1) != 0);
  return static_cast<Half>((below + (up ? 1 : 0)) | (value < 0 ? 0x8000 : 0));
}

std::vector<std::uint32_t> random_words(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::uint32_t> words(count);
  for (std::uint32_t& word : words) word = static_cast<std::uint32_t>(random());
  return words;
}

std::vector<std::uint32_t> run_ternary(Ternary what, const std::vector<std::uint32_t>& abc) {
  const Array<std::uint32_t> in(abc);
  const Array<std::uint32_t> out(abc.size() / 3);
  ternary({}, what, out.data(), in.data(), out.size());
  return out.values();
}

TEST_CASE("f16_to_f32: every half") {
  if (!cuda_absence().empty()) return;
  std::vector<Half> halves(65536);
  for (std::size_t i = 0; i < halves.size(); ++i) halves[i] = static_cast<Half>(i);
  const Array<Half> in(halves);
  const Array<float> out(halves.size());
  widen({}, out.data(), in.data(), out.size());
  const std::vector<float> values = out.values();
  int wrong = 0;
  for (std::size_t i = 0; i < halves.size(); ++i) {
    if (is_nan(halves[i])) {
      wrong += !std::isnan(values[i]);
    } else if (!is_finite(halves[i])) {
      wrong +=
          values[i] != ((halves[i] & 0x8000) != 0 ? -1.0F : 1.0F) * std::numeric_limits<float>::infinity();
    } else {
      wrong += values[i] != value_of(halves[i]) || std::signbit(values[i]) != ((halves[i] & 0x8000) != 0);
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("f32_to_f16: on, between, and just beside the middle of all neighbours") {
  if (!cuda_absence().empty()) return;
  std::vector<float> numbers;
  std::vector<Half> expected;
  const auto add = [&](float number, Half half) {
    numbers.push_back(number);
    expected.push_back(half);
    numbers.push_back(-number);
    expected.push_back(negated(half));
  };
  for (Half half = 0; half < 0x7C00; ++half) {
    const auto above = static_cast<Half>(half + 1);
    const double next = half == 0x7BFF ? 65536.0 : value_of(above);
    const auto middle = static_cast<float>((value_of(half) + next) / 2);
    add(static_cast<float>(value_of(half)), half);
    add(std::nextafter(middle, 0.0F), half);
    add(middle, (half & 1) == 0 ? half : above);
    add(std::nextafter(middle, 1e30F), above);
  }
  add(std::numeric_limits<float>::max(), 0x7C00);
  add(std::numeric_limits<float>::infinity(), 0x7C00);
  add(std::numeric_limits<float>::denorm_min(), 0);
  const Array<float> in(numbers);
  const Array<Half> out(numbers.size());
  narrow({}, out.data(), in.data(), out.size());
  CHECK(out.values() == expected);

  const Array<float> not_a_number(std::vector<float>(1, std::numeric_limits<float>::quiet_NaN()));
  const Array<Half> narrowed(1);
  narrow({}, narrowed.data(), not_a_number.data(), 1);
  CHECK(is_nan(narrowed.values()[0]));
}

TEST_CASE("f32x2_to_f16x2, f16x2_low and f16x2_high: the first is the low half") {
  if (!cuda_absence().empty()) return;
  const Array<float> in(std::vector<float>{1.0F, -2.0F, 65504.0F, 0.5F});
  const Array<std::uint32_t> pairs(2);
  const Array<float> back(4);
  narrow_pairs({}, pairs.data(), back.data(), in.data(), 2);
  CHECK(pairs.values() == std::vector<std::uint32_t>{0xC0003C00, 0x38007BFF});
  CHECK(back.values() == in.values());
}

TEST_CASE("f16x2_fma and f16x2_subtract: each half rounded once") {
  if (!cuda_absence().empty()) return;
  std::vector<std::uint32_t> abc = random_words(30000, 1);
  for (std::uint32_t& word : abc) {  // finite, and half of them of like size, where sums cancel
    if (!is_finite(static_cast<Half>(word))) word ^= 0x00004000;
    if (!is_finite(static_cast<Half>(word >> 16))) word ^= 0x40000000;
    if ((word & 0x100) != 0) word = (word & 0x83FF83FF) | 0x38003C00;
  }
  const std::vector<std::uint32_t> fma = run_ternary(Ternary::f16x2_fma, abc);
  const std::vector<std::uint32_t> difference = run_ternary(Ternary::f16x2_subtract, abc);
  int wrong = 0;
  for (std::size_t i = 0; i < fma.size(); ++i) {
    for (const int shift : {0, 16}) {
      const auto a = static_cast<Half>(abc[3 * i] >> shift);
      const auto b = static_cast<Half>(abc[3 * i + 1] >> shift);
      const auto c = static_cast<Half>(abc[3 * i + 2] >> shift);
      const Exact sum = exact(a, 0) * exact(b, 0) + exact(c, 24);
      const bool negative_zero = ((a ^ b) & 0x8000) != 0 && (c & 0x8000) != 0;
      wrong += static_cast<Half>(fma[i] >> shift) != nearest(sum, negative_zero ? 0x8000 : 0);
      const Exact rest = exact(a, 24) - exact(b, 24);
      const bool negative_rest = (a & 0x8000) != 0 && (b & 0x8000) == 0;
      wrong += static_cast<Half>(difference[i] >> shift) != nearest(rest, negative_rest ? 0x8000 : 0);
    }
  }
  CHECK(wrong == 0);
  // 1 - 1 = +0; infinity - infinity is not a number.
  const std::vector<std::uint32_t> special =
      run_ternary(Ternary::f16x2_subtract, {pair_of(0x3C00, 0x7C00), pair_of(0x3C00, 0x7C00), 0});
  CHECK((special[0] & 0xFFFF) == 0);
  CHECK(is_nan(static_cast<Half>(special[0] >> 16)));
}

TEST_CASE("and_or, permute_bytes, dot4: random words and every selector nibble") {
  if (!cuda_absence().empty()) return;
  std::vector<std::uint32_t> abc = random_words(30000, 2);
  for (std::uint32_t i = 0; i < 16; ++i) abc[3 * i + 2] = i * 0x1111 ^ 0x7520;
  const std::vector<std::uint32_t> masked = run_ternary(Ternary::and_or, abc);
  const std::vector<std::uint32_t> permuted = run_ternary(Ternary::permute_bytes, abc);
  const std::vector<std::uint32_t> dots = run_ternary(Ternary::dot4, abc);
  int wrong = 0;
  for (std::size_t i = 0; i < masked.size(); ++i) {
    const std::uint32_t a = abc[3 * i];
    const std::uint32_t b = abc[3 * i + 1];
    const std::uint32_t c = abc[3 * i + 2];
    wrong += masked[i] != ((a & b) | c);
    std::int64_t sum = static_cast<std::int32_t>(c);
    for (unsigned byte = 0; byte < 4; ++byte) {
      const std::uint32_t choice = c >> 4 * byte & 0xF;
      const std::uint32_t chosen = ((choice & 7) < 4 ? a >> 8 * (choice & 3) : b >> 8 * (choice & 3)) & 0xFF;
      const std::uint32_t expected = (choice & 8) == 0 ? chosen : (chosen >= 0x80 ? 0xFF : 0);
      wrong += (permuted[i] >> 8 * byte & 0xFF) != expected;
      const auto signed_byte = [&](std::uint32_t of) {
        const int value = static_cast<int>(of >> 8 * byte & 0xFF);
        return value < 128 ? value : value - 256;
      };
      sum += signed_byte(a) * signed_byte(b);
    }
    wrong += dots[i] != static_cast<std::uint32_t>(sum);
  }
  CHECK(wrong == 0);
}

// The tables of the PTX ISA: row and column of element i of lane `lane`.   groupID = lane >> 2,
// threadID_in_group = lane % 4
struct Place {
  int row, column;
};
Place a_k16(int lane, int i) {
  return {lane / 4 + (i < 2 || (i >= 4 && i < 6) ? 0 : 8), lane % 4 * 2 + (i & 1) + (i < 4 ? 0 : 8)};
}
Place b_k16(int lane, int i) {
  return {lane % 4 * 2 + (i & 1) + (i < 2 ? 0 : 8), lane / 4};
}
Place a_k8(int lane, int i) {
  return {lane / 4 + (i < 2 ? 0 : 8), lane % 4 * 2 + (i & 1)};
}
Place b_k8(int lane, int i) {
  return {lane % 4 * 2 + i, lane / 4};
}
Place d_of(int lane, int i) {
  return {lane / 4 + (i < 2 ? 0 : 8), lane % 4 * 2 + (i & 1)};
}

// Elements `at(lane, i)` of a matrix of `columns` columns, two to a register, `registers` of each lane.
std::vector<std::uint32_t> fragments(const std::vector<Half>& matrix, int columns, int registers,
                                     Place (*at)(int, int)) {
  std::vector<std::uint32_t> all;
  const auto element = [&](Place place) {
    return matrix[static_cast<std::size_t>(place.row * columns + place.column)];
  };
  for (int lane = 0; lane < kWarpLanes; ++lane)
    for (int r = 0; r < registers; ++r)
      all.push_back(pair_of(element(at(lane, 2 * r)), element(at(lane, 2 * r + 1))));
  return all;
}

TEST_CASE("mma_k8 and mma_k16: every register of every lane") {
  if (!cuda_absence().empty()) return;
  for (const int depth : {8, 16}) {
    std::mt19937 random(3);
    std::uniform_int_distribution<int> small(-16, 16);
    std::vector<Half> a(static_cast<std::size_t>(16 * depth));
    std::vector<Half> b(static_cast<std::size_t>(8 * depth));
    // Quarters: all sums are exact in f32, whatever their order.
    for (Half& half : a) half = nearest(static_cast<Exact>(small(random)) << 46, 0);
    for (Half& half : b) half = nearest(static_cast<Exact>(small(random)) << 46, 0);
    std::vector<float> d;
    std::vector<float> expected;
    for (int lane = 0; lane < kWarpLanes; ++lane) {
      for (int i = 0; i < 4; ++i) {
        d.push_back(static_cast<float>(small(random)) * 1000);
        const Place place = d_of(lane, i);
        double sum = d.back();
        for (int k = 0; k < depth; ++k)
          sum += value_of(a[static_cast<std::size_t>(place.row * depth + k)]) *
                 value_of(b[static_cast<std::size_t>(k * 8 + place.column)]);
        expected.push_back(static_cast<float>(sum));
      }
    }
    const Array<float> in_and_out(d);
    const Array<std::uint32_t> of_a(fragments(a, depth, depth / 4, depth == 8 ? a_k8 : a_k16));
    const Array<std::uint32_t> of_b(fragments(b, 8, depth / 8, depth == 8 ? b_k8 : b_k16));
    mma({}, depth, in_and_out.data(), of_a.data(), of_b.data());
    CHECK(in_and_out.values() == expected);
  }
}

TEST_CASE("mma_k16: products are exact and sums are f32, also of subnormal and of large numbers") {
  if (!cuda_absence().empty()) return;
  std::mt19937 random(4);
  std::vector<Half> a(256);
  std::vector<Half> b(128);
  for (Half& half : a) half = static_cast<Half>(random() & 0xBFFF);  // below 2
  for (Half& half : b) half = static_cast<Half>(random() % 0x7C00);
  const Array<float> d(std::vector<float>(128, 0.0F));
  const Array<std::uint32_t> of_a(fragments(a, 16, 4, a_k16));
  const Array<std::uint32_t> of_b(fragments(b, 8, 2, b_k16));
  mma({}, 16, d.data(), of_a.data(), of_b.data());
  const std::vector<float> sums = d.values();
  for (int lane = 0; lane < kWarpLanes; ++lane) {
    for (int i = 0; i < 4; ++i) {
      const Place place = d_of(lane, i);
      double sum = 0;
      double magnitude = 0;
      for (int k = 0; k < 16; ++k) {
        const double product = value_of(a[static_cast<std::size_t>(place.row * 16 + k)]) *
                               value_of(b[static_cast<std::size_t>(k * 8 + place.column)]);
        sum += product;
        magnitude += std::fabs(product);
      }
      // Tensor cores cut off what is below an ulp of the largest addend, at each of 16 additions.
      CHECK(std::fabs(sums[static_cast<std::size_t>(4 * lane + i)] - sum) <= 16 * 0x1p-23 * magnitude);
    }
  }
}

TEST_CASE("load_matrices: lane 8 i + r gives row r of matrix i") {
  if (!cuda_absence().empty()) return;
  std::vector<Half> rows(32 * 8);
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<Half>(1000 + i);
  std::vector<std::uint32_t> order(32);
  for (std::uint32_t i = 0; i < 32; ++i) order[i] = (5 * i + 3) % 32;
  const Array<Half> in(rows);
  const Array<std::uint32_t> order_in(order);
  const Array<std::uint32_t> out(32 * 4);
  load_matrices({}, out.data(), in.data(), order_in.data(), 24);
  std::vector<std::uint32_t> expected;
  for (std::size_t lane = 0; lane < 32; ++lane) {
    for (std::size_t matrix = 0; matrix < 4; ++matrix) {
      const std::size_t at = 8 * order[8 * matrix + lane / 4] + 2 * (lane % 4);
      expected.push_back(pair_of(rows[at], rows[at + 1]));
    }
  }
  CHECK(out.values() == expected);
}

std::vector<std::uint32_t> words_of(const std::vector<uint4>& vectors) {
  std::vector<std::uint32_t> words;
  for (const uint4& v : vectors) words.insert(words.end(), {v.x, v.y, v.z, v.w});
  return words;
}

TEST_CASE("copy_async_16 and load_stream: 16 bytes, or zeros") {
  if (!cuda_absence().empty()) return;
  constexpr std::size_t kCount = 200;
  constexpr std::size_t kValid = 150;
  std::vector<uint4> vectors;
  for (unsigned i = 0; i < kCount; ++i)
    vectors.push_back(make_uint4(4 * i + 1, 4 * i + 2, 4 * i + 3, 4 * i + 4));
  const Array<uint4> in(vectors);
  const Array<uint4> streamed(kCount);
  copy_stream({}, streamed.data(), in.data(), kCount);
  CHECK(words_of(streamed.values()) == words_of(vectors));

  const Array<uint4> copied(2 * kCount);
  copy_async({}, copied.data(), in.data(), kCount, kValid);
  for (std::size_t i = kValid; i < kCount; ++i) vectors[i] = make_uint4(0, 0, 0, 0);
  std::vector<uint4> twice = vectors;
  twice.insert(twice.end(), vectors.begin(), vectors.end());
  CHECK(words_of(copied.values()) == words_of(twice));
}

}  // namespace
}  // namespace spqr::cuda
