// Checkpoints that are SpQR already, into a .spqr file and through the model: genuine ones, with logits.
#include "runtime/import_model.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "models/config.h"
#include "models/model.h"
#include "models/safetensors.h"
#include "models/spqr_file.h"
#include "runtime/quantize_plan.h"
#include "tests/models/files.h"
#include "tests/runtime/quantize_jobs.h"
#include "tests/test_data.h"

namespace spqr {
namespace {

// Logits (ids, vocab_size) of a .spqr file, on the reference backend.
std::vector<float> logits_of(const std::filesystem::path& path, const std::vector<std::int32_t>& ids) {
  const SpqrFile file = SpqrFile::open(path, {.mmap = true, .verify = true});
  const ModelConfig config = parse_config(file.info().config_json, path.string());
  const auto backend = make_backend("reference", {});
  const auto source = make_weight_source(file);
  const auto tokens = static_cast<std::int64_t>(ids.size());
  const auto model = make_model(config, *source, *backend, tokens, {});
  const KvCache cache(*backend, config, tokens, {CacheType::f32, CacheType::f32});
  std::vector<float> x(static_cast<std::size_t>(tokens * config.hidden_size));
  std::vector<float> logits(static_cast<std::size_t>(tokens * config.vocab_size));
  const Matrix hidden{x.data(), tokens, config.hidden_size};
  model->embed(hidden, ids);
  for (std::int64_t layer = 0; layer < config.num_hidden_layers; ++layer)
    model->block(layer, hidden, cache.layer(layer), 0);
  model->head({logits.data(), tokens, config.vocab_size}, hidden);
  return logits;
}

double largest_difference(const std::vector<float>& found, const std::filesystem::path& golden,
                          const char* name) {
  const auto file = SafetensorsFile::open(golden / "golden.safetensors");
  const SafetensorsTensor* tensor = file.find(name);
  REQUIRE(tensor != nullptr);
  std::vector<float> expected(tensor->data.size() / sizeof(float));
  std::memcpy(expected.data(), tensor->data.data(), tensor->data.size());
  REQUIRE(found.size() == expected.size());
  double largest = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    const double difference = std::abs(static_cast<double>(found[i]) - expected[i]);
    largest = difference > largest || std::isnan(difference) ? difference : largest;
  }
  return largest;
}

struct Case {
  const char* checkpoint;
  OutlierRule outliers;
  const char* golden;  // directory with the logits
  const char* logits;
};

}  // namespace

// The addend of an outlier is rounded to f16 once more than the saved weights were.
TEST_CASE("genuine SpQR checkpoints give the logits that transformers computes from them") {
  const auto root = test_data("spqr_checkpoints");
  const auto base = test_data("tinystories-656k");
  if (!root || !base) return;
  const Case cases[] = {{"tinystories-656k-w3g16q16-actorder", OutlierRule::replace,
                         "tinystories-656k-w3g16q16-actorder", "logits_saved"},
                        {"tinystories-656k-w4g16q16-identity", OutlierRule::replace,
                         "tinystories-656k-w4g16q16-identity", "logits_saved"},
                        {"tinystories-656k-w3g8q64-actorder", OutlierRule::replace,
                         "tinystories-656k-w3g8q64-actorder", "logits_saved"},
                        {"tinystories-656k-w3g16q16-hf-csr", OutlierRule::replace,
                         "tinystories-656k-w3g16q16-actorder", "logits_saved"},
                        {"tinystories-656k-w3g16q16-hf-ptcsr", OutlierRule::replace,
                         "tinystories-656k-w3g16q16-actorder", "logits_saved"},
                        {"tinystories-656k-w3g16q16-hf-csr", OutlierRule::add,
                         "tinystories-656k-w3g16q16-hf-csr", "logits_packed_f32"},
                        {"tinystories-656k-w3g16q16-hf-ptcsr", OutlierRule::add,
                         "tinystories-656k-w3g16q16-hf-ptcsr", "logits_packed_f32"}};
  for (const Case& c : cases) {
    const TemporaryDirectory directory;
    ImportJob job{*root / c.checkpoint, directory.path() / "x.spqr", {}, {}};
    job.options.base = *base;
    job.options.outliers = c.outliers;
    TestObserver observer;
    const QuantizeSummary summary = import_model(job, observer);
    CHECK(observer.warnings.empty());
    CHECK(summary.modules.size() == 15);
    const auto ids = nlohmann::json::parse(read_bytes(*root / c.golden / "golden.json"))["ids"]
                         .get<std::vector<std::int32_t>>();
    const double difference = largest_difference(logits_of(job.out, ids), *root / c.golden, c.logits);
    MESSAGE(std::string(c.checkpoint) << ", " << std::string(c.logits) << ": max difference " << difference);
    CHECK(difference < 1e-2);
  }
}

TEST_CASE("a genuine SpQR checkpoint of a Falcon, whose query_key_value is taken apart") {
  const std::filesystem::path fixtures = SPQR_FIXTURES;
  const auto checkpoint = fixtures / "spqr_checkpoints" / "falcon-7b-w3g16q16-actorder";
  const TemporaryDirectory directory;
  ImportJob job{checkpoint, directory.path() / "x.spqr", {}, {}};
  job.options.base = fixtures / "golden" / "falcon-7b";
  TestObserver observer;
  const QuantizeSummary summary = import_model(job, observer);
  CHECK(summary.modules.size() == 13);  // embedding; q, k, v, dense and the two of the MLP, twice
  std::int64_t outliers = 0;
  for (const ModuleReport& module : summary.modules) outliers += module.outliers;
  CHECK(outliers == 5708);
  const SpqrFile file = SpqrFile::open(job.out, {});
  const ModelConfig config = parse_config(file.info().config_json, "x.spqr");
  const QuantizePlan plan = plan_import(
      config, {.bits = 3, .beta1 = 16, .beta2 = 16, .scale_bits = 3, .zero_bits = 3}, sizeof(std::uint16_t));
  CHECK(plan.file > summary.file_bytes / 2);
  CHECK(plan.file < summary.file_bytes * 2);
  const auto ids =
      nlohmann::json::parse(read_bytes(checkpoint / "golden.json"))["ids"].get<std::vector<std::int32_t>>();
  const double difference = largest_difference(logits_of(job.out, ids), checkpoint, "logits_saved");
  MESSAGE("falcon-7b-w3g16q16-actorder, logits_saved: max difference " << difference);
  CHECK(difference < 1e-2);
}

TEST_CASE("too little memory or disk is a sentence with the numbers before anything is written") {
  const TemporaryDirectory directory;
  const auto out = directory.path() / "x.spqr";
  constexpr std::size_t kExbibyte = std::size_t{1} << 60U;
  CHECK(contains(message_of([&] { require_room({.weights = kExbibyte}, out); }), "GiB of memory, but only"));
  CHECK(contains(message_of([&] { require_room({.file = kExbibyte}, out); }), "GiB on disk, but only"));
  CHECK(message_of([&] { require_room({.weights = 1, .file = 1}, out); }) == "no error");
}

TEST_CASE("import: statistics that are not quantized stay so") {
  for (const char* name : {"reference-statistics", "reference-statistics-row"}) {
    CAPTURE(name);
    const TemporaryDirectory directory;
    const auto model = std::filesystem::path(SPQR_FIXTURES) / "torch" / name;
    TestObserver observer;
    const QuantizeSummary summary = import_model({model, directory.path() / "x.spqr", {}, {}}, observer);
    CHECK(summary.average.relative_error.value() < 0x1p-22);
    const SpqrFile file = SpqrFile::open(directory.path() / "x.spqr", {.mmap = true, .verify = true});
    const auto expected = SafetensorsFile::open(model / "weights.safetensors");
    CHECK(expected.tensors().size() == 7);
    for (const SafetensorsTensor& tensor : expected.tensors()) {
      const SpqrFileModule* module = file.find_module(tensor.name.substr(0, tensor.name.rfind('.')));
      REQUIRE(module != nullptr);
      const auto& packed = std::get<SpqrMatrix>(module->linear.weight);
      CHECK_FALSE(packed.format.quantized_statistics());
      std::vector<float> w(tensor.data.size() / sizeof(float));
      std::vector<float> stored = w;
      std::memcpy(w.data(), tensor.data.data(), tensor.data.size());
      dequantize(packed, file.perm(module->perm_name), stored);
      const double largest = std::abs(*std::ranges::max_element(w, {}, [](float v) { return std::abs(v); }));
      for (std::size_t i = 0; i < w.size(); ++i) CHECK(std::abs(stored[i] - w[i]) <= largest * 0x1p-10);
    }
  }
}

TEST_CASE("import: the scheme comes from the checkpoint, and options that contradict it are refused") {
  const TemporaryDirectory directory;
  ImportJob job{
      std::filesystem::path(SPQR_FIXTURES) / "torch" / "reference", directory.path() / "x.spqr", {}, {}};
  TestObserver observer;
  job.given = {{"scheme", "spqr"}, {"bits", "3"}, {"beta1", "16"}};
  const QuantizeSummary summary = import_model(job, observer);
  CHECK(summary.modules.size() == 9);
  CHECK(summary.average.relative_error.value() < 1e-7);
  CHECK(observer.warnings.size() == 1);  // no tokenizer
  const SpqrFile file = SpqrFile::open(job.out, {.mmap = true, .verify = true});
  const auto quantization = nlohmann::json::parse(file.info().quantization_json);
  CHECK(quantization["source_format"] == "SpQR reference");
  CHECK(quantization["bits"] == 3);
  std::filesystem::remove(job.out);
  for (const GivenOptions& given :
       {GivenOptions{{"scheme", "rtn"}}, GivenOptions{{"bits", "4"}}, GivenOptions{{"beta1", "row"}},
        GivenOptions{{"preset", "3bit"}}, GivenOptions{{"calibration", "c4.jsonl"}},
        GivenOptions{{"embedding-scheme", "rtn8"}}}) {
    job.given = given;
    CHECK_THROWS_AS(import_model(job, observer), std::invalid_argument);
  }
  CHECK(std::filesystem::is_empty(directory.path()));
}

}  // namespace spqr
