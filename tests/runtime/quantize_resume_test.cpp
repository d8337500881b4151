// Interrupting and resuming.
#include <doctest/doctest.h>

#include <fstream>

#include "tests/models/files.h"
#include "tests/runtime/quantize_jobs.h"

namespace spqr {
namespace {

// The file that an uninterrupted run writes.
std::string expected_bytes(const TemporaryDirectory& directory, QuantizeJob job) {
  job.out = directory.path() / "expected.spqr";
  quantize(job);
  return read_bytes(job.out);
}

TEST_CASE("resume: goes on after the last finished block, to the same bytes") {
  const GivenOptions cases[] = {{}, {{"scheme", "gptq"}}, {{"scheme", "rtn"}}, {{"head-scheme", "spqr"}}};
  for (const GivenOptions& options : cases) {
    CAPTURE(options.size());
    const TemporaryDirectory directory;
    QuantizeJob job = stories_job(directory.path() / "q.spqr", options);
    const std::string expected = expected_bytes(directory, job);
    quantize_interrupted(job, 1 + 2 * 7 + 3);  // in the third block
    CHECK_FALSE(std::filesystem::exists(job.out));
    job.resume = true;
    quantize_interrupted(job, 1 + 2);  // and once more, after less
    quantize(job);
    CHECK(read_bytes(job.out) == expected);
    CHECK(std::distance(std::filesystem::directory_iterator(directory.path()), {}) == 2);  // the two files
  }
}

TEST_CASE("resume: interrupted while it goes through finished blocks, all of these count") {
  const TemporaryDirectory directory;
  QuantizeJob job = stories_job(directory.path() / "q.spqr", {});
  quantize_interrupted(job, 1 + 2 * 7 + 3);  // in the third block
  job.resume = true;
  TestObserver observer;
  observer.modules_until_stop = 1 + 7;  // the first block's
  std::string said;
  try {
    quantize_model(job, observer);
  } catch (const QuantizeCancelled& cancelled) {
    said = cancelled.what();
  }
  CHECK(said == "interrupted after 2 of 5 blocks; --resume goes on from there");
}

TEST_CASE("resume: with target bits, in the sweep and in the last pass, to the same bytes") {
  const TemporaryDirectory directory;
  QuantizeJob job = stories_job(directory.path() / "q.spqr", {{"target-bits", "4.3"}});
  const std::string expected = expected_bytes(directory, job);
  job.resume = true;  // there is nothing to resume: it begins
  TestObserver counting;
  class StopAt final : public QuantizeObserver {
   public:
    explicit StopAt(int calls) : left_(calls) {}
    bool cancelled() override { return --left_ < 0; }

   private:
    int left_;
  };
  int stops = 0;
  for (int calls = 20; calls < 400; calls += 35) {
    StopAt observer(calls);
    try {
      quantize_model(job, observer);
      break;
    } catch (const QuantizeCancelled&) {
      ++stops;
    }
  }
  CHECK(stops > 2);
  quantize(job);
  CHECK(read_bytes(job.out) == expected);
  CHECK(std::distance(std::filesystem::directory_iterator(directory.path()), {}) == 2);
}

TEST_CASE("resume: other options do not go on with what is there") {
  const TemporaryDirectory directory;
  QuantizeJob job = stories_job(directory.path() / "q.spqr", {});
  quantize_interrupted(job, 1 + 7 + 3);
  QuantizeJob other = stories_job(job.out, {{"damp", "0.5"}});
  other.resume = true;
  CHECK_THROWS_AS(quantize(other), std::runtime_error);
}

TEST_CASE("interrupt: an existing file stays as it was, and nothing is left where nothing can be resumed") {
  const TemporaryDirectory directory;
  const QuantizeJob job = stories_job(directory.path() / "q.spqr", {});
  std::ofstream(job.out) << "old";
  quantize_interrupted(job, 3);  // in the first block
  CHECK(read_bytes(job.out) == "old");
  CHECK(std::distance(std::filesystem::directory_iterator(directory.path()), {}) == 1);
  quantize(job);
  CHECK(read_bytes(job.out).size() > 1000);
}

}  // namespace
}  // namespace spqr
