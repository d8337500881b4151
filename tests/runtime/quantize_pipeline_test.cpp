// The pipeline from a checkpoint to a file, on a trained model of 260 thousand weights.
#include <doctest/doctest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "models/checkpoint.h"
#include "models/model.h"
#include "models/spqr_file.h"
#include "runtime/inspect.h"
#include "runtime/logits.h"
#include "runtime/perplexity.h"
#include "tests/models/files.h"
#include "tests/runtime/quantize_jobs.h"
#include "tokenizer/tokenizer.h"

namespace spqr {
namespace {

constexpr const char* kModule = "model.layers.2.mlp.down_proj";

// W of a module of a file, f32, in the original order of columns.
std::vector<float> weights_in(const SpqrFile& file, const std::string& name) {
  const SpqrFileModule* module = file.find_module(name);
  REQUIRE(module != nullptr);
  std::vector<float> w(static_cast<std::size_t>(module->linear.m() * module->linear.n()));
  dequantize(std::get<SpqrMatrix>(module->linear.weight), file.perm(module->perm_name), w);
  return w;
}

// What the model was trained on sounds like this.
constexpr const char* kStories =
    "Once upon a time, there was a little girl named Lily. She loved to play in the park with her dog, Max. "
    "One day, "
    "Lily saw a big red ball under a tree. She wanted to play with it, but it was stuck. Max jumped up and "
    "down and "
    "barked. Lily asked her mom to help. Her mom smiled and took the ball from under the tree. Lily was so "
    "happy. She "
    "said, \"Thank you, mom!\" They played with the ball all day long. When the sun went down, they went "
    "home. Lily "
    "hugged Max and went to sleep. Tom and Sam are friends. They like to build things with blocks. One day "
    "they made a "
    "very tall tower. \"Look, it is so big!\" said Tom. But then a cat came and ran into the tower, and it "
    "fell down. "
    "Tom was sad. Sam said, \"Do not be sad. We can make it again.\" So they made a new tower, and it was "
    "even taller. "
    "The cat sat next to them and watched. They were all happy and learned that it is good to try again.";
constexpr const char* kOtherStory =
    "Once upon a time, there was a little boy named Ben. He had a small boat. One day, he went to the lake "
    "with his "
    "dad. The boat was in the water when a big wind came. Ben was scared and said, \"Oh no, my boat!\" His "
    "dad found a "
    "long stick and got the boat back. Ben smiled and gave his dad a big hug. They went home and had lunch.";

// Mean negative log-likelihood of a text's tokens.
double loss_of(const std::filesystem::path& path, const std::string& text) {
  const SpqrFile file = SpqrFile::open(path, {});
  const ModelConfig config = parse_config(file.info().config_json, path.string());
  const std::vector<std::int32_t> ids = load_tokenizer(file.info().tokenizer_files)->encode(text, {});
  const std::vector<float> logits = logits_of(file, ids);
  const auto vocab = static_cast<std::size_t>(config.vocab_size);
  double sum = 0;
  for (std::size_t t = 0; t + 1 < ids.size(); ++t)
    sum += negative_log_likelihood(std::span(logits).subspan(t * vocab, vocab), ids[t + 1]);
  return sum / static_cast<double>(ids.size() - 1);
}

TEST_CASE("quantize: f32 keeps every weight, and f16 rounds it") {
  const TemporaryDirectory directory;
  const QuantizeJob job = stories_job(directory.path() / "f32.spqr", {{"scheme", "f32"}});
  quantize(job);
  const SpqrFile file = SpqrFile::open(job.out, {.verify = true});
  const auto checkpoint = open_checkpoint(job.model, {job.tokenizer});
  const std::vector<float> expected = checkpoint->read(std::string(kModule) + ".weight");
  const auto& view = std::get<TensorView>(file.find_module(kModule)->linear.weight);
  REQUIRE(view.dtype == DType::f32);
  CHECK(std::equal(expected.begin(), expected.end(), static_cast<const float*>(view.data)));
  CHECK(file.info().tokenizer_files == checkpoint->tokenizer_files());

  const QuantizeJob half = stories_job(directory.path() / "f16.spqr", {{"scheme", "f16"}});
  CHECK(quantize(half).average.bits == 16);
  CHECK(loss_of(job.out, kOtherStory) == doctest::Approx(loss_of(half.out, kOtherStory)).epsilon(1e-3));
}

TEST_CASE("quantize: RTN stores the nearest of 2^bits levels between a group's extremes") {
  const TemporaryDirectory directory;
  const QuantizeJob job = stories_job(directory.path() / "rtn.spqr", {{"scheme", "rtn"}, {"bits", "4"}});
  quantize(job);
  const SpqrFile file = SpqrFile::open(job.out, {});
  const std::vector<float> w =
      open_checkpoint(job.model, {job.tokenizer})->read(std::string(kModule) + ".weight");
  const std::vector<float> q = weights_in(file, kModule);
  const std::int64_t n = file.find_module(kModule)->linear.n();
  for (std::size_t row = 0; row < w.size() / static_cast<std::size_t>(n); ++row) {
    const auto begin = w.begin() + static_cast<std::ptrdiff_t>(row) * n;
    const auto [low, high] = std::minmax_element(begin, begin + n);
    const double step = (*high - *low) / 15.0;
    for (std::int64_t j = 0; j < n; ++j) {
      // Half a step, and what f16 statistics move: 2^-11 of a scale that counts up to 15 times, and of a zero
      // point.
      const std::size_t i = row * static_cast<std::size_t>(n) + static_cast<std::size_t>(j);
      REQUIRE(std::abs(w[i] - q[i]) <= step * (0.5 + 30 * 0x1p-11));
    }
  }
}

TEST_CASE("quantize: calibration makes SpQR and GPTQ lose less than rounding") {
  const TemporaryDirectory directory;
  const std::filesystem::path& at = directory.path();
  const std::string text = (at / "stories.txt").string();
  std::ofstream(text) << kStories;
  const auto loss = [&](GivenOptions options) {
    if (options["scheme"] != "f32" && options["scheme"] != "rtn") options["calibration"] = text;
    const QuantizeJob job = stories_job(at / "q.spqr", options);
    quantize(job);
    return loss_of(job.out, kOtherStory);
  };
  const double exact = loss({{"scheme", "f32"}});
  CHECK(exact < 2.5);  // it is a model of such stories: log 512 is 6.2
  const double rtn = loss({{"scheme", "rtn"}, {"bits", "2"}, {"beta1", "16"}}) - exact;
  const double gptq = loss({{"scheme", "gptq"}, {"bits", "2"}, {"beta1", "16"}, {"damp", "1"}}) - exact;
  const double spqr = loss({{"scheme", "spqr"}, {"bits", "2"}}) - exact;
  CHECK(gptq < 0.85 * rtn);
  CHECK(spqr < 0.5 * gptq);
}

TEST_CASE("quantize: the file says how it was made") {
  const TemporaryDirectory directory;
  const QuantizeJob job = stories_job(directory.path() / "q.spqr", {{"documents", "2-20"}, {"damp", "0.5"}});
  const QuantizeSummary summary = quantize(job);
  const auto said = nlohmann::json::parse(SpqrFile::open(job.out, {}).info().quantization_json);
  CHECK(said["scheme"] == "spqr");
  CHECK(said["damp"] == 0.5);
  CHECK(said["outlier_threshold"] == 0.2);
  CHECK(said["calibration"]["file"] == "c4_sample.jsonl");
  CHECK(said["calibration"]["documents"] == nlohmann::json{2, 20});
  CHECK(said["calibration"]["tokens"] == 600);
  CHECK(said["bits_per_weight"] == summary.average.bits);
  CHECK(said["modules"].size() == summary.modules.size());
  CHECK(summary.modules.size() == 1 + 5 * 7);  // the tied head is the embedding
}

TEST_CASE("quantize: stored bits count codes, outliers and each permutation once") {
  const TemporaryDirectory directory;
  const QuantizeJob job = stories_job(directory.path() / "q.spqr", {});
  const QuantizeSummary summary = quantize(job);
  const SpqrFile file = SpqrFile::open(job.out, {});
  double bytes = 0;
  double weights = 0;
  std::set<std::string> perms;
  for (const SpqrFileModule& module : file.modules()) {
    const auto* packed = std::get_if<SpqrMatrix>(&module.linear.weight);
    if (packed == nullptr) continue;  // the embedding
    weights += static_cast<double>(packed->m * packed->n);
    bytes += static_cast<double>(packed->dense.size_bytes() + packed->col_vals.size_bytes());
    if (!packed->col_vals.empty()) bytes += 2.0 * static_cast<double>(packed->m);  // outliers of each row
    if (perms.insert(module.perm_name).second) bytes += 2.0 * static_cast<double>(packed->n);
  }
  CHECK(perms.size() == 4 * 5);
  CHECK(summary.average.stored_bits == doctest::Approx(8 * bytes / weights).epsilon(1e-9));
  CHECK(summary.average.stored_bits <= inspect(file, 64).blocks.stored_bits_per_weight());
}

TEST_CASE("quantize: the result depends neither on threads nor on where activations are kept") {
  const TemporaryDirectory directory;
  QuantizeJob job = stories_job(directory.path() / "one.spqr", {});
  job.threads = 1;
  quantize(job);
  const std::string expected = read_bytes(job.out);
  job.out = directory.path() / "two.spqr";
  job.threads = 3;
  job.activations_on_disk = true;
  quantize(job);
  CHECK(read_bytes(job.out) == expected);
}

TEST_CASE("quantize: true sequential calibrates later groups on quantized ones") {
  const TemporaryDirectory directory;
  const QuantizeSummary plain = quantize(stories_job(directory.path() / "a.spqr", {}));
  const QuantizeSummary sequential =
      quantize(stories_job(directory.path() / "b.spqr", {{"true-sequential", ""}}));
  // q_proj of the first block sees the same inputs, its o_proj others.
  CHECK(plain.modules[1].relative_error == sequential.modules[1].relative_error);
  CHECK(plain.modules[4].relative_error != sequential.modules[4].relative_error);
}

TEST_CASE("quantize: embedding and head in other schemes; a tied head can go its own way") {
  const TemporaryDirectory directory;
  const QuantizeJob job =
      stories_job(directory.path() / "a.spqr", {{"embedding-scheme", "rtn8"}, {"head-scheme", "spqr"}});
  const QuantizeSummary summary = quantize(job);
  CHECK(summary.modules.front().scheme == "rtn8");
  CHECK(summary.modules.back().scheme == "spqr");
  CHECK(summary.modules.back().relative_error.value() < 0.1);
  const SpqrFile file = SpqrFile::open(job.out, {});
  CHECK_FALSE(parse_config(file.info().config_json, "config").tie_word_embeddings);
  CHECK(file.find_module("lm_head")->perm_name == "lm_head.perm");
  CHECK(file.find_module("model.embed_tokens")->perm_name.empty());
  CHECK(loss_of(job.out, kOtherStory) < 5);
  const QuantizeJob both = stories_job(
      directory.path() / "b.spqr", {{"scheme", "rtn"}, {"embedding-scheme", "spqr"}, {"head-scheme", "f16"}});
  CHECK(quantize(both).modules.front().outliers > 0);
  CHECK(loss_of(both.out, kOtherStory) < 5);
}

TEST_CASE("quantize: what cannot work is refused before any work, and leaves nothing") {
  const TemporaryDirectory directory;
  const auto refused = [&](const QuantizeJob& job) {
    CHECK_THROWS(quantize(job));
    CHECK(std::filesystem::is_empty(directory.path()));
  };
  QuantizeJob job = stories_job(directory.path() / "no" / "such" / "q.spqr", {});
  refused(job);
  job.out = directory.path();
  refused(job);
  job.out = directory.path() / "q.spqr";
  job.model = directory.path() / "missing";
  refused(job);
  job = stories_job(directory.path() / "q.spqr", {{"calibration", "/missing.txt"}});
  refused(job);
  refused(stories_job(directory.path() / "q.spqr", {{"target-bits", "3.1"}}));
  refused(stories_job(directory.path() / "q.spqr", {{"documents", "2-200"}}));
  job = stories_job(directory.path() / "q.spqr", {});
  job.settings.calibration.file.clear();
  refused(job);
  job.out = job.model;
  refused(job);
}

TEST_CASE("quantize: a checkpoint without a tokenizer is quantized with a warning, on ids") {
  const TemporaryDirectory directory;
  const std::filesystem::path ids = directory.path() / "ids.txt";
  std::ofstream(ids) << "1 5 6 7 8 9 300 20 21 22 23 24";
  QuantizeJob job = stories_job(directory.path() / "q.spqr", {{"calibration", ids.string()}});
  job.model = std::filesystem::path(SPQR_FIXTURES) / "golden" / "llama-mha";
  job.tokenizer.clear();
  TestObserver observer;
  CHECK(quantize_model(job, observer).calibration_tokens == 12);
  CHECK(observer.warnings.size() == 2);
}

TEST_CASE("quantize: a tokenizer with more tokens than the embedding has rows is refused in every scheme") {
  const TemporaryDirectory directory;
  for (const char* scheme : {"spqr", "gptq", "rtn", "f16", "f32"}) {
    CAPTURE(scheme);
    QuantizeJob job = stories_job(directory.path() / "q.spqr", {{"scheme", scheme}});
    job.model = std::filesystem::path(SPQR_FIXTURES) / "golden" / "llama-mha";
    const std::string message = message_of([&] { quantize(job); });
    CHECK(contains(message, job.tokenizer.string()));
    CHECK(contains(message, "has 512 tokens, but the model's embedding 384 rows"));
    CHECK(std::filesystem::is_empty(directory.path()));
  }
}

TEST_CASE("quantize: tensors that are missing or of another shape are named with their checkpoint") {
  const std::filesystem::path golden = std::filesystem::path(SPQR_FIXTURES) / "golden" / "llama-mha";
  const TemporaryDirectory directory;
  const auto refused = [&](const std::string& config, std::string weights, const std::string& name,
                           const std::string& other, const std::string& what) {
    if (const std::size_t at = weights.find(name); at != std::string::npos)
      weights.replace(at, name.size(), other);
    const TemporaryDirectory model;
    model.write("config.json", config);
    model.write("model.safetensors", weights);
    QuantizeJob job = stories_job(directory.path() / "q.spqr", {{"scheme", "rtn"}});
    job.model = model.path();
    job.tokenizer.clear();
    const std::string message = message_of([&] { quantize(job); });
    CHECK_MESSAGE(message.starts_with(model.path().string() + ": " + what), message);
  };
  const std::string config = read_bytes(golden / "config.json");
  const std::string weights = read_bytes(golden / "model.safetensors");
  refused(config, weights, "layers.1.input_layernorm.weight", "layers.1.output_layernor.weight",
          "has no tensor model.layers.1.input_layernorm.weight");
  refused(config, weights, "layers.1.mlp.up_proj.weight", "layers.1.mlp.uq_proj.weight",
          "has no tensor model.layers.1.mlp.up_proj.weight");
  std::string smaller = config;
  smaller.replace(smaller.find("\"vocab_size\": 384"), 17, "\"vocab_size\": 383");
  refused(smaller, weights, "none", "",
          "tensor model.embed_tokens.weight has shape [384, 64], expected [383, 64]");
}

TEST_CASE("a warning that quantizing twice loses quality, where it happens") {
  const TemporaryDirectory directory;
  QuantizeJob job;
  job.model = std::filesystem::path(SPQR_FIXTURES) / "gguf" / "llama.gguf";
  job.out = directory.path() / "q.spqr";
  TestObserver observer;
  job.settings = resolve_quantize_options({{"scheme", "rtn"}});
  quantize_model(job, observer);
  REQUIRE(observer.warnings.size() == 1);
  CHECK(contains(observer.warnings[0], "quantized already (Q4_0; Q4_1; Q8_0), and quantizing twice"));
  observer.warnings.clear();
  job.settings = resolve_quantize_options({{"scheme", "f32"}});
  quantize_model(job, observer);
  job.model = std::filesystem::path(SPQR_FIXTURES) / "gguf" / "qwen2.gguf";
  job.settings = resolve_quantize_options({{"scheme", "rtn"}});
  quantize_model(job, observer);
  CHECK(observer.warnings.empty());
}

}  // namespace
}  // namespace spqr
