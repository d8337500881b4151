// Finding the threshold that gives a number of bits.
#include <doctest/doctest.h>

#include <cmath>
#include <stdexcept>

#include "runtime/input_store.h"
#include "runtime/threshold_search.h"
#include "tests/models/files.h"
#include "tests/runtime/quantize_jobs.h"

namespace spqr {
namespace {

TEST_CASE("threshold search: finds the place on falling curves in few tries") {
  for (const double target : {3.65, 3.79, 4.7, 8.0, 20.0}) {
    for (const double slope : {0.7, 1.5, 4.0}) {
      CAPTURE(target);
      CAPTURE(slope);
      // All weights are outliers at thresholds of 0.01 and less, ever fewer above.
      const auto bits = [&](double threshold) {
        return 3.625 + 32 * std::min(1.0, std::pow(threshold / 0.01, -slope));
      };
      ThresholdSearch search(target, 3.625, 0.2);
      int tries = 1;
      while (!search.add(bits(search.next()))) ++tries;
      CHECK(tries <= 12);
      CHECK(std::abs(search.best_bits() / target - 1) <= ThresholdSearch::kPromised);
      CHECK(search.best_bits() == bits(search.best()));
    }
  }
}

TEST_CASE("threshold search: bits that no threshold gives are refused, and the least are no outliers") {
  CHECK_THROWS_AS(ThresholdSearch(3.5, 3.625, 0.2), std::invalid_argument);
  CHECK_THROWS_AS(ThresholdSearch(36, 3.625, 0.2), std::invalid_argument);
  CHECK(ThresholdSearch(3.625, 3.625, 0.2).next() > 1e20);
}

TEST_CASE("threshold search: a curve of coarse steps ends at the nearest") {
  ThresholdSearch search(4.0, 3.625, 0.2);
  while (!search.add(search.next() < 0.3 ? 4.3 : 3.8)) {
  }
  CHECK(search.best_bits() == 3.8);
}

TEST_CASE("input store: gives back what it was given") {
  const TemporaryDirectory directory;
  InputStore store(directory.path() / "hessians", false);
  store.reserve(0, 0, 2);
  store.reserve(0, 1, 3);
  InputStatistics input;
  input.h = {4, 1, 2, 1, 5, 3, 2, 3, 6};
  input.hessian = prepare_hessian(input.h, 3, PermutationOrder::act_order, 0.1);
  store.put(0, 1, input);
  const InputStatistics back = store.get(0, 1);
  CHECK(back.h == input.h);
  CHECK(back.hessian.inverse_factor == input.hessian.inverse_factor);
  CHECK(back.hessian.perm == input.hessian.perm);
  CHECK(back.hessian.dead == input.hessian.dead);
  store.remove();
  CHECK(std::filesystem::is_empty(directory.path()));
}

TEST_CASE("quantize: --target-bits is met within half a percent by one threshold") {
  const TemporaryDirectory directory;
  for (const char* target : {"4.3", "5.0"}) {
    CAPTURE(target);
    const QuantizeSummary found =
        quantize(stories_job(directory.path() / "q.spqr", {{"target-bits", target}}));
    CHECK(std::abs(found.average.bits / std::stod(target) - 1) <= 0.005);
    CHECK(found.outlier_threshold > 0);
  }
}

}  // namespace
}  // namespace spqr
