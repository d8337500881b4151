#include "tests/runtime/quantize_jobs.h"

#include <doctest/doctest.h>

#include <memory>

#include "models/model.h"

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

std::vector<float> logits_of(const SpqrFile& file, const std::vector<std::int32_t>& ids) {
  const ModelConfig config = parse_config(file.info().config_json, "the file's configuration");
  const auto tokens = static_cast<std::int64_t>(ids.size());
  const std::unique_ptr<Backend> backend = make_backend("cpu", {});
  const std::unique_ptr<WeightSource> source = make_weight_source(file);
  const std::unique_ptr<Model> model = make_model(config, *source, *backend, tokens, {});
  KvCache cache(*backend, config, tokens, {CacheType::f32, CacheType::f32});
  std::vector<float> x(static_cast<std::size_t>(tokens * config.hidden_size));
  std::vector<float> logits(static_cast<std::size_t>(tokens * config.vocab_size));
  const Matrix hidden{x.data(), tokens, config.hidden_size};
  model->embed(hidden, ids);
  for (std::int64_t l = 0; l < config.num_hidden_layers; ++l) model->block(l, hidden, cache.layer(l), 0);
  model->head({logits.data(), tokens, config.vocab_size}, hidden);
  return logits;
}

void quantize_interrupted(const QuantizeJob& job, int modules) {
  TestObserver observer;
  observer.modules_until_stop = modules;
  CHECK_THROWS_AS(quantize_model(job, observer), QuantizeCancelled);
}

}  // namespace spqr
