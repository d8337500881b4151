#include "tests/runtime/quantize_jobs.h"

#include <doctest/doctest.h>

namespace spqr {

QuantizeJob stories_job(const std::filesystem::path& out, const GivenOptions& options) {
  const std::filesystem::path fixtures = SPQR_FIXTURES;
  GivenOptions given = options;
  const std::string scheme = given.contains("scheme") ? given["scheme"] : "spqr";
  if (scheme == "spqr" || scheme == "gptq") {
    given.emplace("calibration", (fixtures / "calibration" / "c4_sample.jsonl").string());
    given.emplace("calibration-samples", "6");
    given.emplace("calibration-length", "100");
  }
  QuantizeJob job;
  job.model = fixtures / "llama2c" / "stories260K.bin";
  job.tokenizer = fixtures / "llama2c" / "tok512.bin";
  job.out = out;
  job.settings = resolve_quantize_options(given);
  return job;
}

QuantizeSummary quantize(const QuantizeJob& job) {
  TestObserver observer;
  return quantize_model(job, observer);
}

void quantize_interrupted(const QuantizeJob& job, int modules) {
  TestObserver observer;
  observer.modules_until_stop = modules;
  CHECK_THROWS_AS(quantize_model(job, observer), QuantizeCancelled);
}

}  // namespace spqr
