#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "tests/kernels/operands.h"

namespace spqr {
namespace {

// The definition: sorted by value, NaN first, and by id where values are equal.
std::vector<std::int32_t> largest_ids(const std::vector<float>& logits, std::int64_t count) {
  std::vector<std::int32_t> ids(logits.size());
  for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<std::int32_t>(i);
  std::stable_sort(ids.begin(), ids.end(), [&](std::int32_t a, std::int32_t b) {
    const float left = logits[static_cast<std::size_t>(a)];
    const float right = logits[static_cast<std::size_t>(b)];
    return std::isnan(left) ? !std::isnan(right) : left > right;
  });
  ids.resize(static_cast<std::size_t>(count));
  return ids;
}

void check_largest(const std::string& what, const std::vector<float>& logits) {
  const auto n = static_cast<std::int64_t>(logits.size());
  for (const std::int64_t count : {1, 2, 40, 128}) {
    if (count > n) continue;
    const std::vector<std::int32_t> expected = largest_ids(logits, count);
    for (const std::string& name : tested_backends()) {
      INFO(name, ", ", what, ", ", count, " of ", n);
      const auto backend = make_backend(name, {.threads = 1});
      const Activations row(*backend, 1, n, logits);
      const std::vector<TokenLogit> found = backend->largest(row.matrix(), count);
      std::vector<std::int32_t> ids;
      for (const TokenLogit& candidate : found) {
        const float logit = logits[static_cast<std::size_t>(candidate.id)];
        CHECK((candidate.logit == logit || (std::isnan(candidate.logit) && std::isnan(logit))));
        ids.push_back(candidate.id);
      }
      CHECK(ids == expected);
    }
  }
}

}  // namespace

TEST_CASE("largest: any number of logits") {
  std::mt19937 random(1);
  // Of 40000 and more, 128 are chosen in three rounds on `cuda`.
  for (const std::int64_t n : {1, 2, 31, 127, 128, 129, 2047, 2048, 2049, 5000, 40011})
    check_largest("random", random_vector(n, random, 5));
}

TEST_CASE("largest: of equal logits the first ones") {
  check_largest("all equal", std::vector<float>(3000, -1.5F));
  std::mt19937 random(2);
  std::vector<float> few(5001);
  for (float& value : few) value = static_cast<float>(random() % 5) - 2;
  for (std::size_t i = 0; i < few.size(); i += 3) {
    if (few[i] == 0) few[i] = -0.0F;  // equals 0
  }
  check_largest("five values", few);
  std::fill(few.begin(), few.end(), -1.0F);
  for (std::size_t i = 10; i < few.size(); i += 7) few[i] = i % 2 == 0 ? 0.0F : -0.0F;
  check_largest("zeros of both signs", few);
}

TEST_CASE("largest: NaN is larger than all, negative infinity smaller") {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  std::mt19937 random(3);
  std::vector<float> logits = random_vector(4100, random);
  for (std::size_t i = 0; i < logits.size(); i += 2) logits[i] = -kInfinity;
  logits[77] = kInfinity;
  logits[4099] = std::numeric_limits<float>::max();
  check_largest("infinities", logits);
  logits[3000] = NAN;
  logits[2999] = std::copysign(NAN, -1.0F);
  check_largest("NaN", logits);
  check_largest("nothing but negative infinity", std::vector<float>(2500, -kInfinity));
  check_largest("nothing but NaN", std::vector<float>(300, NAN));
}

}  // namespace spqr
