// Matrix-vector products (one token) with candidate layouts of a packed matrix, beside the read bandwidth of
// the machine: docs/design/packed-layout.md. Needs AVX2 and FMA.
//   layout_bench [rounds]
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <random>

#include <fmt/format.h>

#include "kernels/half.h"
#include "kernels/spqr_matrix.h"
#include "kernels/threads.h"
#include "runtime/machine_limits.h"
#include "tests/bench/layout_candidates.h"

namespace spqr {
namespace {

constexpr std::int64_t kSize = 4096;
constexpr int kCopies = 12;  // of each matrix, so that no cache holds them

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

SpqrParts random_matrix(int bits) {
  std::mt19937 random(1);
  SpqrParts parts;
  parts.format = {bits, 16, 16, 3, 3};
  parts.m = parts.n = kSize;
  const auto codes = [&](std::int64_t count, unsigned mask) {
    std::vector<std::uint8_t> values(static_cast<std::size_t>(count));
    for (auto& value : values) value = static_cast<std::uint8_t>(random() & mask);
    return values;
  };
  const auto values = [&](float mean) {
    std::vector<float> result(kSize / 16 * kSize / 16);
    for (auto& value : result) value = round_to_f16(mean + static_cast<float>(random() % 1024) / 4096);
    return result;
  };
  parts.codes = codes(kSize * kSize, (1U << bits) - 1);
  parts.scale_codes = codes(kSize / 16 * kSize, 7);
  parts.zero_codes = codes(kSize / 16 * kSize, 7);
  parts.scale_scale = values(0.5F);
  parts.scale_zero = values(-3);
  parts.zero_scale = values(0.5F);
  parts.zero_zero = values(-2);
  return parts;
}

std::vector<double> reference(const SpqrParts& parts, const std::vector<float>& x) {
  const std::vector<float> w = dequantize(parts);
  std::vector<double> y(kSize);
  for (std::int64_t i = 0; i < kSize; ++i) {
    for (std::int64_t j = 0; j < kSize; ++j) y[i] += static_cast<double>(w[i * kSize + j]) * x[j];
  }
  return y;
}

double relative_error(const std::vector<float>& y, const std::vector<double>& expected) {
  double error = 0;
  double size = 0;
  for (std::size_t i = 0; i < y.size(); ++i) {
    error += (y[i] - expected[i]) * (y[i] - expected[i]);
    size += expected[i] * expected[i];
  }
  return std::sqrt(error / size);
}

struct Timed {
  Candidate candidate;
  std::vector<std::byte> copies;
  std::vector<double> times;
};

bool measure(int bits, int rounds) {
  const SpqrParts parts = random_matrix(bits);
  std::mt19937 random(2);
  std::normal_distribution<float> normal;
  std::vector<float> x(kSize);
  for (float& value : x) value = normal(random);
  std::vector<float> y(kSize);
  const std::vector<double> expected = reference(parts, x);

  std::vector<Timed> all;
  for (auto* make : {row_lanes_f32, column_lanes_f32, tile_words_f32, row_lanes_int16, column_lanes_int8}) {
    if (make == tile_words_f32 && bits != 3) continue;
    Timed timed{make(parts), {}, {}};
    timed.candidate.matvec(timed.candidate.packed.data(), x.data(), y.data());
    const double error = relative_error(y, expected);
    if (!(error <= timed.candidate.tolerance)) {
      fmt::print(stderr, "{} is wrong: relative error {}\n", timed.candidate.name, error);
      return false;
    }
    for (int i = 0; i < kCopies; ++i) {
      timed.copies.insert(timed.copies.end(), timed.candidate.packed.begin(), timed.candidate.packed.end());
    }
    all.push_back(std::move(timed));
  }

  const MachineLimits limits;
  std::vector<double> reading;
  for (int round = 0; round < rounds; ++round) {
    reading.push_back(limits.read_gb_per_s(0));
    for (Timed& timed : all) {
      const std::size_t bytes = timed.candidate.packed.size();
      const double begin = seconds();
      for (std::size_t i = 0; i < kCopies; ++i) {
        timed.candidate.matvec(timed.copies.data() + i * bytes, x.data(), y.data());
      }
      timed.times.push_back(seconds() - begin);
    }
  }
  const double bandwidth = median(reading);
  fmt::print("{} bits, 16 x 16, {} x {}, {} threads, {} rounds; read bandwidth {:.1f} GB/s\n", bits, kSize,
             kSize, threads(), rounds, bandwidth);
  fmt::print(
      "| layout | bits per weight | GB/s | of read bandwidth | us per product |\n|---|---|---|---|---|\n");
  for (const Timed& timed : all) {
    const double time = median(timed.times);
    const double speed = static_cast<double>(timed.copies.size()) / time * 1e-9;
    fmt::print("| {} | {:.3f} | {:.1f} | {:.0f} % | {:.0f} |\n", timed.candidate.name,
               8.0 * static_cast<double>(timed.candidate.packed.size()) / (kSize * kSize), speed,
               100 * speed / bandwidth, 1e6 * time / kCopies);
  }
  return true;
}

}  // namespace
}  // namespace spqr

int main(int argc, char** argv) {
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) {
    fmt::print(stderr, "layout_bench needs AVX2 and FMA\n");
    return 1;
  }
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 15;
  if (rounds < 1) {
    fmt::print(stderr, "layout_bench [rounds]\n");
    return 2;
  }
  return spqr::measure(3, rounds) && spqr::measure(4, rounds) ? 0 : 1;
}
