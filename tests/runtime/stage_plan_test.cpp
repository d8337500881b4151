// Plans of models that are nowhere, on GPUs that are not there.
#include "runtime/stage_plan.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "kernels/cuda/counting_backend.h"
#include "models/spqr_file.h"
#include "runtime/apps/plan_options.h"
#include "runtime/memory_plan.h"
#include "runtime/plan_report.h"
#include "runtime/planned_weights.h"
#include "runtime/synthetic.h"
#include "tests/models/files.h"
#include "tests/runtime/quantize_jobs.h"

namespace spqr {
namespace {

constexpr double kGiB = 0x1p30;

StagePlace device(std::size_t available, const ModelParts& parts) {
  return {"cuda", parts, available, [] { return cuda::make_counting_backend(108); }};
}

// A model of a named shape on a GPU of 24 GiB.
struct OnGpu {
  OnGpu(const std::string& shape, const std::string& preset, std::int64_t context, CacheType type,
        std::optional<std::int64_t> layers = std::nullopt)
      : config(parse_config(synthetic_config(shape), shape)),
        settings(resolve_quantize_options({{"preset", preset}})),
        weights(planned_weights(config, settings)),
        model{config, *weights, std::nullopt, {context, 512, 1, {type, type}}},
        plan(plan_model(model,
                        {device(free_of_device(std::size_t{24} << 30U), cut_model(config, layers).back())})),
        refusal(refusal_of(plan, model)) {}

  ModelConfig config;
  QuantizeSettings settings;
  std::unique_ptr<WeightSource> weights;
  PlannedModel model;
  ModelPlan plan;
  std::string refusal;
};

}  // namespace

TEST_CASE("a 33B model in 4.7 bits fits a GPU of 24 GiB with 2048 tokens in f16 and 3584 in 8 bits") {
  CHECK(static_cast<double>(free_of_device(std::size_t{24} << 30U)) / kGiB == doctest::Approx(21.9));
  const OnGpu f16("llama-33b", "near-lossless", 2048, CacheType::f16);
  CHECK(f16.refusal.empty());
  CHECK(f16.plan.fits());
  const StagePlan& stage = f16.plan.stages.front();
  CHECK(static_cast<double>(stage.weights) / kGiB == doctest::Approx(18.4).epsilon(0.005));
  CHECK(static_cast<double>(stage.cache) / kGiB == doctest::Approx(3.05).epsilon(0.005));
  CHECK(f16.plan.longest_context() >= 2048);

  const OnGpu q8("llama-33b", "near-lossless", 3584, CacheType::q8_0);
  CHECK(q8.refusal.empty());
  CHECK(q8.plan.longest_context() >= 3584);
  CHECK_FALSE(OnGpu("llama-33b", "near-lossless", 3584, CacheType::f16).plan.fits());
}

TEST_CASE("a 65B model is refused with the numbers, and fits in part") {
  const OnGpu refused("llama-65b", "near-lossless", 2048, CacheType::f16);
  CHECK_FALSE(refused.plan.fits());
  CHECK(refused.plan.longest_context() == 0);
  for (const char* part : {"36.4", " GiB of weights", "5.00 GiB of KV cache for 2048 tokens", "of workspace",
                           "are 41.", "but 21.90 GiB are free", "--gpu-layers "}) {
    CHECK_MESSAGE(contains(refused.refusal, part), refused.refusal);
  }
  CHECK_FALSE(contains(refused.refusal, "-c "));
  const std::int64_t layers = std::stoll(refused.refusal.substr(refused.refusal.find("--gpu-layers ") + 13));
  CHECK(layers > 30);
  CHECK(OnGpu("llama-65b", "near-lossless", 2048, CacheType::f16, layers).plan.fits());
  CHECK_FALSE(OnGpu("llama-65b", "near-lossless", 2048, CacheType::f16, layers + 1).plan.fits());
}

TEST_CASE("a context that fits takes no more than there is, and the next one does") {
  for (const CacheType type : {CacheType::f32, CacheType::f16, CacheType::q8_0}) {
    const OnGpu any("llama-7b", "3bit", 128, type);
    const std::int64_t longest = any.plan.longest_context();
    const OnGpu fitting("llama-7b", "3bit", longest, type);
    CHECK(fitting.plan.fits());
    CHECK(fitting.plan.longest_context() == longest);
    CHECK_FALSE(OnGpu("llama-7b", "3bit", longest + 1, type).plan.fits());
  }
  // Nobody asks for one: what the model was made for.
  CHECK(OnGpu("llama-7b", "3bit", 0, CacheType::f16).plan.context == 2048);
}

TEST_CASE("weights that are planned take what they take once they are written") {
  const std::vector<GivenOptions> all{{{"preset", "3bit"}},
                                      {{"preset", "near-lossless"}, {"head-scheme", "spqr"}},
                                      {{"preset", "4bit"}, {"embedding-scheme", "rtn8"}},
                                      {{"scheme", "rtn"}},
                                      {{"scheme", "f16"}}};
  const TemporaryDirectory directory;
  const std::string llama = directory
                                .write("config.json", R"({"model_type": "qwen2", "hidden_size": 64,
      "intermediate_size": 172, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
      "vocab_size": 300, "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "tie_word_embeddings": true})")
                                .string();
  for (const GivenOptions& options : all) {
    for (const std::string& shape : {llama}) {
      QuantizeJob job;
      job.settings = resolve_quantize_options(options);
      job.out = directory.path() / "model.spqr";
      TestObserver observer;
      write_synthetic(shape, job, observer);
      const SpqrFile file = SpqrFile::open(job.out, {});
      const ModelConfig config = parse_config(file.info().config_json, "");
      const auto written = make_weight_source(file);
      const auto planned = planned_weights(config, job.settings);
      const auto plan_of = [&](WeightSource& weights) {
        const PlannedModel model{config, weights, std::nullopt, {100, 16, 1, {}}};
        return plan_model(model, {device(std::size_t{1} << 30U, cut_model(config, std::nullopt).front())});
      };
      CAPTURE(options.begin()->second);
      // Outliers of each matrix are a number that is rounded down.
      const auto expected = static_cast<double>(plan_of(*written).stages.front().weights);
      CHECK(static_cast<double>(plan_of(*planned).stages.front().weights) ==
            doctest::Approx(expected).epsilon(0.002));
    }
  }
}

TEST_CASE("a model that is cut has every block once") {
  const ModelConfig config = parse_config(synthetic_config("llama-7b"), "");
  for (const std::int64_t last : {1, 5, 31, 32, 99}) {
    const auto parts = cut_model(config, last);
    CHECK(parts.size() == (last < 32 ? 2 : 1));
    CHECK(parts.front().embedding);
    CHECK(parts.front().first_layer == 0);
    CHECK(parts.back().head);
    CHECK(parts.back().first_layer + parts.back().layers == 32);
    CHECK(parts.back().layers == std::min<std::int64_t>(last, 32));
    if (last < 32) CHECK(parts.front().layers == parts.back().first_layer);
  }
}

TEST_CASE("a plan as JSON has what the text has") {
  const OnGpu of("llama-65b", "3bit", 2048, CacheType::q8_0);
  const nlohmann::json object = to_json(of.plan, of.model, of.refusal);
  CHECK(object.at("fits") == false);
  CHECK(object.at("refused") == of.refusal);
  const auto& stage = object.at("stages").at(0);
  CHECK(stage.at("total") ==
        stage.at("weights").get<std::size_t>() + stage.at("kv_cache").get<std::size_t>() +
            stage.at("workspace").get<std::size_t>() + stage.at("margin").get<std::size_t>());
  const std::string text = to_text(of.plan, of.model);
  for (const char* key : {"weights", "kv_cache", "workspace", "total"})
    CHECK(contains(text, human_bytes(stage.at(key).get<std::size_t>())));
}

TEST_CASE("sizes of memory are read as people write them") {
  CHECK(byte_size("24GiB") == std::size_t{24} << 30U);
  CHECK(byte_size("24GB") == 24'000'000'000);
  CHECK(byte_size("24G") == std::size_t{24} << 30U);
  CHECK(byte_size("1.5 GiB") == std::size_t{3} << 29U);
  CHECK(byte_size("512MiB") == std::size_t{512} << 20U);
  CHECK(byte_size("1000000") == 1'000'000);
  for (const char* bad : {"", "GiB", "24 tons", "-1GiB", "0", "nan", "1e30GiB", "24GiBs"})
    CHECK_THROWS_AS(byte_size(bad), UsageError);
}

}  // namespace spqr
