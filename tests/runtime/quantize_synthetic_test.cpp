// Models of random weights.
#include <doctest/doctest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "models/config.h"
#include "models/spqr_file.h"
#include "runtime/progress.h"
#include "runtime/synthetic.h"
#include "tests/models/files.h"
#include "tests/runtime/quantize_jobs.h"

namespace spqr {
namespace {

double deviation(const std::vector<float>& values) {
  double sum = 0;
  double squares = 0;
  for (const float value : values) {
    sum += value;
    squares += static_cast<double>(value) * value;
  }
  const double mean = sum / static_cast<double>(values.size());
  return std::sqrt(squares / static_cast<double>(values.size()) - mean * mean);
}

TEST_CASE("synthetic: weights of every format have a deviation of about 0.02 and the outliers asked for") {
  const SpqrFormat formats[] = {{3, 16, 16, 3, 3},  {4, 16, 16, 3, 3},
                                {3, 8, 64, 3, 3},   {2, 32, 8, 2, 8},
                                {8, 128, 32, 8, 2}, {4, SpqrFormat::kWholeRow, 16, 16, 16}};
  for (const SpqrFormat& format : formats) {
    CAPTURE(format.bits);
    const SpqrParts parts = random_parts(format, 100, 300, 0.01, 1);
    CHECK(deviation(dequantize(parts)) == doctest::Approx(0.02).epsilon(0.25));
    CHECK(parts.columns.size() == 300);
    CHECK_NOTHROW(validate(pack(parts).view()));
  }
  CHECK(random_parts(formats[0], 100, 300, 0, 1).row_offsets.empty());
}

TEST_CASE("synthetic: named shapes are configurations of supported models") {
  for (const std::string& shape : synthetic_shapes()) {
    CAPTURE(shape);
    const ModelConfig config = parse_config(synthetic_config(shape), shape);
    CHECK(config.head_dim * config.num_attention_heads == config.hidden_size);
  }
  CHECK(parse_config(synthetic_config("llama-7b"), "").num_hidden_layers == 32);
  const ModelConfig falcon = parse_config(synthetic_config("falcon-40b"), "");
  CHECK(falcon.model_type == "falcon");
  CHECK(falcon.num_key_value_heads == 8);
  CHECK(falcon.num_ln_in_parallel_attn == 2);
  CHECK(parse_config(synthetic_config("falcon-7b"), "").num_key_value_heads == 1);
  CHECK_THROWS_AS(synthetic_config("llama-8b"), std::invalid_argument);
}

TEST_CASE("synthetic: a file of the preset's bits, the same for the same seed") {
  const TemporaryDirectory directory;
  const std::filesystem::path config =
      std::filesystem::path(SPQR_FIXTURES) / "golden" / "qwen2" / "config.json";
  QuantizeJob job;
  job.settings = resolve_quantize_options({{"preset", "3bit"}, {"embedding-scheme", "rtn8"}});
  job.out = directory.path() / "a.spqr";
  TestObserver observer;
  const QuantizeSummary summary = write_synthetic(config.string(), job, observer);
  CHECK(summary.average.outlier_share == doctest::Approx(0.0052).epsilon(0.1));
  const SpqrFile file = SpqrFile::open(job.out, {.verify = true});
  CHECK(file.info().tokenizer_files.empty());
  CHECK(file.find_module("model.layers.0.self_attn.q_proj")->linear.bias.size() > 0);
  job.out = directory.path() / "b.spqr";
  job.threads = 1;
  write_synthetic(config.string(), job, observer);
  CHECK(read_bytes(job.out) == read_bytes(directory.path() / "a.spqr"));
}

TEST_CASE("synthetic: a tied head that is asked for in another way is a matrix of its own") {
  const TemporaryDirectory directory;
  const auto config = std::filesystem::path(SPQR_FIXTURES) / "golden" / "llama-gqa-llama3rope-tied";
  QuantizeJob job;
  job.out = directory.path() / "a.spqr";
  TestObserver observer;
  const auto head_of = [&](const GivenOptions& given) {
    job.settings = resolve_quantize_options(given);
    const QuantizeSummary summary = write_synthetic((config / "config.json").string(), job, observer);
    const SpqrFile file = SpqrFile::open(job.out, {});
    const auto said = nlohmann::json::parse(file.info().quantization_json);
    const bool stored = file.find_module("lm_head") != nullptr;
    CHECK(parse_config(file.info().config_json, "config").tie_word_embeddings == !stored);
    const std::string head = stored ? summary.modules.back().scheme : "";
    CHECK(said["head_scheme"] == (stored ? head : said["embedding_scheme"].get<std::string>()));
    return head;
  };
  CHECK(head_of({{"embedding-scheme", "rtn4"}}) == "");
  CHECK(head_of({{"embedding-scheme", "rtn4"}, {"head-scheme", "rtn4"}}) == "");
  CHECK(head_of({{"embedding-scheme", "rtn4"}, {"head-scheme", "rtn6"}}) == "rtn6");
}

TEST_CASE("synthetic: there is a plan, and no error, as there are no weights to be wrong about") {
  const TemporaryDirectory directory;
  const auto config = std::filesystem::path(SPQR_FIXTURES) / "golden" / "qwen2" / "config.json";
  class Observer final : public QuantizeObserver {
   public:
    void tell(const std::string& text) override { told += text; }
    std::string told;
  };
  QuantizeJob job;
  job.settings = resolve_quantize_options({{"preset", "3bit"}});
  job.out = directory.path() / "a.spqr";
  Observer observer;
  const QuantizeSummary summary = write_synthetic(config.string(), job, observer);
  CHECK(contains(observer.told, "of disk"));
  CHECK_FALSE(summary.average.relative_error.has_value());
  const nlohmann::json json = to_json(summary);
  CHECK_FALSE(json.contains("relative_error"));
  CHECK_FALSE(json["modules"][0].contains("relative_error"));
  CHECK_FALSE(contains(line_of(summary.modules[0]), "error"));
}

TEST_CASE("progress: time left follows from what was done since the first report") {
  using std::chrono::seconds;
  const Progress::Clock::time_point start{};
  Progress progress(start);
  CHECK_FALSE(progress.seconds_left().has_value());
  progress.update(50, 100, start + seconds(3));  // resumed in the middle
  CHECK_FALSE(progress.seconds_left().has_value());
  progress.update(60, 100, start + seconds(13));
  CHECK(*progress.seconds_left() == doctest::Approx(40));
  CHECK(progress.bar("block 3", 200) == "[##############..........]  60 %  0:40 left  block 3");
  CHECK(progress.bar("block 3", 10).size() == 10);
  CHECK(format_duration(3723.0) == "1:02:03");
  CHECK(format_duration(std::nullopt) == "-");
}

}  // namespace
}  // namespace spqr
