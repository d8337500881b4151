// Values from CPython 3.11.
#include "runtime/python_random.h"

#include <doctest/doctest.h>

#include <stdexcept>
#include <vector>

namespace spqr {
namespace {

std::vector<std::int64_t> draw(PythonRandom& random, int count, std::int64_t low, std::int64_t high) {
  std::vector<std::int64_t> values;
  for (int i = 0; i < count; ++i) values.push_back(random.randint(low, high));
  return values;
}

using Values = std::vector<std::int64_t>;

}  // namespace

TEST_CASE("random.randint after random.seed") {
  PythonRandom random(0);
  CHECK(draw(random, 12, 0, 999) == Values{864, 394, 776, 911, 430, 41, 265, 988, 523, 497, 414, 940});
  CHECK(draw(random, 6, 0, 356316) == Values{159023, 249874, 187720, 305860, 114526, 264601});
  // A range of one value still draws a bit; ranges of 32 bits and more than 31.
  CHECK(draw(random, 2, 0, 0) == Values{0, 0});
  CHECK(random.randint(5, 6) == 5);
  CHECK(random.randint(0, 4294967295) == 3246154361);
  CHECK(random.randint(-3, 2147483648) == 1075916532);

  PythonRandom other(12345);
  CHECK(draw(other, 12, 1, 6) == Values{4, 6, 1, 3, 3, 2, 3, 5, 4, 2, 3, 1});
  PythonRandom largest(4294967295U);
  CHECK(draw(largest, 4, 0, 1000000000) == Values{682209858, 665256253, 218184272, 231223274});
}

TEST_CASE("random.randint past one refill of the state") {
  PythonRandom random(0);
  const Values values = draw(random, 2000, 0, 1 << 20);
  CHECK(Values(values.end() - 3, values.end()) == Values{364037, 755771, 561353});
}

TEST_CASE("random.randint refuses empty ranges") {
  PythonRandom random(0);
  CHECK_THROWS_AS(random.randint(1, 0), std::invalid_argument);
}

}  // namespace spqr
