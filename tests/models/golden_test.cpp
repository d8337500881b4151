// Small random models of every architecture against what transformers computes with them in f32: logits,
// perplexity, greedy continuations; as one prompt, in pieces, and token by token.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "kernels/cpu/isa.h"
#include "models/checkpoint.h"
#include "models/checkpoint_weights.h"
#include "models/kv_cache.h"
#include "models/model.h"
#include "models/safetensors.h"
#include "tests/backends.h"
#include "tests/models/files.h"
#include "tests/test_data.h"

namespace spqr {
namespace {

// Prompts are passed at once, or in pieces of this many tokens.
constexpr std::int64_t kWhole = 0;

struct Golden {
  std::string name;
  std::unique_ptr<Checkpoint> checkpoint;
  ModelConfig config;
  std::vector<std::int32_t> ids, greedy_prompt, greedy_next;
  double perplexity = 0;
  std::vector<float> logits;  // (ids, vocab_size)
};

Golden read_golden(const std::string& name) {
  const std::filesystem::path directory = fixtures() / "golden" / name;
  Golden golden;
  golden.name = name;
  golden.checkpoint = open_checkpoint(directory, {});
  golden.config = parse_config(golden.checkpoint->config_json(), name);
  const auto json = nlohmann::json::parse(read_bytes(directory / "golden.json"));
  golden.ids = json.at("ids").get<std::vector<std::int32_t>>();
  golden.greedy_prompt = json.at("greedy_prompt").get<std::vector<std::int32_t>>();
  golden.greedy_next = json.at("greedy_next_20").get<std::vector<std::int32_t>>();
  golden.perplexity = json.at("perplexity").get<double>();
  const SafetensorsFile file = SafetensorsFile::open(directory / "golden.safetensors");
  const SafetensorsTensor* logits = file.find("logits");
  REQUIRE(logits != nullptr);
  golden.logits.resize(logits->data.size() / sizeof(float));
  std::memcpy(golden.logits.data(), logits->data.data(), logits->data.size());
  return golden;
}

// How a model is run.
struct Setting {
  std::string backend;
  DType weights = DType::f32;
  CacheType cache = CacheType::f32;
  std::string isa = "auto";
  int threads = 0;
};

// A model and its cache; forward() continues the sequence.
class Runner {
 public:
  Runner(const Golden& golden, const Setting& setting, std::int64_t max_tokens)
      : backend_(make_backend(setting.backend, {.threads = setting.threads, .isa = setting.isa})),
        source_(make_weight_source(*golden.checkpoint, setting.weights)),
        model_(make_model(golden.config, *source_, *backend_, max_tokens, {})),
        cache_(*backend_, golden.config, 64, {setting.cache, setting.cache}),
        x_(backend_->allocate(static_cast<std::size_t>(max_tokens * golden.config.hidden_size) *
                              sizeof(float))),
        logits_(backend_->allocate(static_cast<std::size_t>(max_tokens * golden.config.vocab_size) *
                                   sizeof(float))) {}

  // Logits (ids, vocab_size)
  std::vector<float> forward(std::span<const std::int32_t> ids) {
    const auto tokens = static_cast<std::int64_t>(ids.size());
    const Matrix x = x_.matrix(tokens, model_->config().hidden_size);
    const Matrix logits = logits_.matrix(tokens, model_->config().vocab_size);
    model_->embed(x, ids);
    for (std::int64_t l = 0; l < model_->config().num_hidden_layers; ++l) {
      model_->block(l, x, cache_.layer(l), length_);
    }
    model_->head(logits, x);
    length_ += tokens;
    std::vector<float> values(static_cast<std::size_t>(logits.rows * logits.cols));
    backend_->download(values.data(), logits.data, values.size() * sizeof(float));
    return values;
  }

 private:
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<WeightSource> source_;
  std::unique_ptr<Model> model_;
  KvCache cache_;
  std::int64_t length_ = 0;  // tokens in it
  Buffer x_;
  Buffer logits_;
};

std::vector<float> logits_of(const Golden& golden, const Setting& setting, std::int64_t piece) {
  const auto tokens = static_cast<std::int64_t>(golden.ids.size());
  const std::int64_t step = piece == kWhole ? tokens : piece;
  Runner runner(golden, setting, step);
  std::vector<float> logits;
  for (std::int64_t t = 0; t < tokens; t += step) {
    const auto count = static_cast<std::size_t>(std::min(step, tokens - t));
    const auto part = runner.forward(std::span(golden.ids).subspan(static_cast<std::size_t>(t), count));
    logits.insert(logits.end(), part.begin(), part.end());
  }
  return logits;
}

double perplexity(const std::vector<float>& logits, const std::vector<std::int32_t>& ids) {
  const std::size_t vocab = logits.size() / ids.size();
  double nll = 0;
  for (std::size_t t = 0; t + 1 < ids.size(); ++t) {
    const std::span row(logits.data() + t * vocab, vocab);
    const double maximum = *std::max_element(row.begin(), row.end());
    double total = 0;
    for (const float logit : row) total += std::exp(logit - maximum);
    nll -= row[static_cast<std::size_t>(ids[t + 1])] - maximum - std::log(total);
  }
  return std::exp(nll / static_cast<double>(ids.size() - 1));
}

std::vector<std::int32_t> greedy(const Golden& golden, const Setting& setting) {
  Runner runner(golden, setting, static_cast<std::int64_t>(golden.greedy_prompt.size()));
  const auto vocab = golden.config.vocab_size;
  std::vector<float> logits = runner.forward(golden.greedy_prompt);
  std::vector<std::int32_t> tokens;
  while (tokens.size() < golden.greedy_next.size()) {
    const auto last = logits.end() - vocab;
    tokens.push_back(static_cast<std::int32_t>(std::max_element(last, logits.end()) - last));
    logits = runner.forward({&tokens.back(), 1});
  }
  return tokens;
}

double max_difference(const std::vector<float>& a, const std::vector<float>& b) {
  REQUIRE(a.size() == b.size());
  double worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double difference = std::abs(static_cast<double>(a[i]) - b[i]);
    worst = difference > worst || std::isnan(difference) ? difference : worst;
  }
  return worst;
}

const std::vector<std::string> kModels = {"llama-gqa-llama3rope-tied",
                                          "llama-linear-rope",
                                          "llama-mha",
                                          "llama-ragged",
                                          "mistral-sliding",
                                          "qwen2",
                                          "qwen3",
                                          "falcon-7b",
                                          "falcon-40b",
                                          "falcon2-11b",
                                          "falcon-rw"};

// What a forward pass in another precision and order than transformers' may differ by, for logits of size
// about 10.
double tolerance_of(const std::string& backend) {
  return backend == "reference" ? 1e-3 : 2e-3;
}

}  // namespace

TEST_CASE("logits, perplexity and greedy tokens are those of transformers") {
  for (const std::string& name : kModels) {
    const Golden golden = read_golden(name);
    for (const std::string& backend : tested_backends()) {
      const Setting setting{.backend = backend};
      for (const std::int64_t piece : {kWhole, std::int64_t{17}, std::int64_t{1}}) {
        const std::vector<float> logits = logits_of(golden, setting, piece);
        const double difference = max_difference(logits, golden.logits);
        CAPTURE(name);
        CAPTURE(backend);
        CAPTURE(piece);
        CHECK(difference < tolerance_of(backend));
        CHECK(fmt::format("{:.3e}", perplexity(logits, golden.ids)) ==
              fmt::format("{:.3e}", golden.perplexity));
        MESSAGE(name << ", " << backend << ", pieces of " << piece << ": max difference " << difference);
      }
      CHECK_MESSAGE(greedy(golden, setting) == golden.greedy_next, name << ", " << backend);
    }
  }
}

TEST_CASE("logits agree on every instruction set") {
  for (const std::string& name : kModels) {
    const Golden golden = read_golden(name);
    for (const Isa isa : present_isas()) {
      const Setting setting{.backend = "cpu", .isa = std::string(name_of(isa))};
      const double difference = max_difference(logits_of(golden, setting, 7), golden.logits);
      CHECK_MESSAGE(difference < tolerance_of("cpu"), name << ", " << name_of(isa));
    }
  }
}

TEST_CASE("16-bit weights and caches") {
  for (const std::string& name : kModels) {
    const Golden golden = read_golden(name);
    for (const std::string& backend : tested_backends()) {
      CAPTURE(name);
      CAPTURE(backend);
      // The checkpoints are f16, so f16 weights are the same numbers.
      const double weights = max_difference(
          logits_of(golden, {.backend = backend, .weights = DType::f16}, kWhole), golden.logits);
      CHECK(weights < tolerance_of(backend));
      // Keys and values rounded to 11 bits: 2^-11 of logits of size about 10, a few times over.
      const double cache = max_difference(
          logits_of(golden, {.backend = backend, .weights = DType::f16, .cache = CacheType::f16}, 5),
          golden.logits);
      CHECK(cache < 0.05);
      // And to 8 bits by 32 values: half a step, 1/254 of the largest, is eight times that.
      const double bytes = max_difference(
          logits_of(golden, {.backend = backend, .weights = DType::f16, .cache = CacheType::q8_0}, 5),
          golden.logits);
      CHECK(bytes < 8 * 0.05);
      CHECK(bytes > 0);
      MESSAGE(name << ", " << backend << ": f16 weights " << weights << ", f16 cache too " << cache);
    }
  }
}

TEST_CASE("results do not depend on the number of threads") {
  const Golden golden = read_golden("llama-ragged");
  for (const DType weights : {DType::f32, DType::bf16}) {
    for (const std::int64_t piece : {kWhole, std::int64_t{3}}) {
      const auto one = logits_of(golden, {.backend = "cpu", .weights = weights, .threads = 1}, piece);
      for (const int threads : {2, 3}) {
        const auto more =
            logits_of(golden, {.backend = "cpu", .weights = weights, .threads = threads}, piece);
        CHECK_MESSAGE(one == more, "pieces of " << piece << ", threads: " << threads);
      }
    }
  }
}

// Sequences of the model's first tokens, and what their rows are when each passes alone.
TEST_CASE(
    "segments: several sequences pass as each would alone, and branches share what they have in common") {
  for (const std::string name : {"llama-mha", "mistral-sliding", "falcon-rw", "falcon-40b"}) {
    const Golden golden = read_golden(name);
    const std::int64_t hidden = golden.config.hidden_size;
    for (const std::string& backend_name : backend_names()) {
      CAPTURE(name);
      CAPTURE(backend_name);
      const auto backend = make_backend(backend_name, {});
      const auto source = make_weight_source(*golden.checkpoint, DType::f32);
      const auto model = make_model(golden.config, *source, *backend, 12, {});
      const CacheTypes types{CacheType::f32, CacheType::f32};
      const Buffer memory = backend->allocate(static_cast<std::size_t>(12 * hidden) * sizeof(float));
      // Rows of x behind the last block; segment i has the cache caches[i].
      struct Part {
        KvCache* cache;
        std::int64_t first;
        std::vector<std::int32_t> ids;
      };
      const auto pass = [&](const std::vector<Part>& parts) {
        std::vector<std::int32_t> ids;
        for (const Part& part : parts) ids.insert(ids.end(), part.ids.begin(), part.ids.end());
        const Matrix x = memory.matrix(static_cast<std::int64_t>(ids.size()), hidden);
        model->embed(x, ids);
        for (std::int64_t l = 0; l < golden.config.num_hidden_layers; ++l) {
          std::vector<Segment> segments;
          for (const Part& part : parts) {
            segments.push_back(
                {part.cache->layer(l), part.first, static_cast<std::int64_t>(part.ids.size())});
          }
          model->block(l, x, segments);
        }
        std::vector<float> values(static_cast<std::size_t>(x.rows * hidden));
        backend->download(values.data(), x.data, values.size() * sizeof(float));
        return values;
      };
      // Sums of a row are in the same order whatever rows are beside it, or nearly so.
      const auto check_rows = [&](const std::vector<float>& found, std::size_t row,
                                  const std::vector<float>& expected, std::size_t from, std::size_t rows) {
        for (std::size_t i = 0; i < rows * static_cast<std::size_t>(hidden); ++i) {
          const float a = found[row * static_cast<std::size_t>(hidden) + i];
          const float b = expected[from * static_cast<std::size_t>(hidden) + i];
          REQUIRE(std::abs(a - b) <= 1e-5F * (1 + std::abs(b)));
        }
      };
      KvCache one(*backend, golden.config, 12, types);
      KvCache other(*backend, golden.config, 12, types);
      const std::vector<std::int32_t> a{5, 6, 7, 8, 9}, b{11, 12, 13};
      const auto of_a = pass({{&one, 0, a}});
      const auto of_b = pass({{&one, 0, b}});
      const auto both = pass({{&one, 0, {5, 6, 7}}, {&other, 0, b}, {&one, 3, {8, 9}}});
      check_rows(both, 0, of_a, 0, 3);
      check_rows(both, 3, of_b, 0, 3);
      check_rows(both, 6, of_a, 3, 2);

      // 5 6 7 once, then 8 9 and 20 21 22 after it, in the same rows of the same cache; then another
      // sequence.
      const auto of_c = pass({{&one, 0, {5, 6, 7, 20, 21, 22}}});
      const auto tree =
          pass({{&one, 0, {5, 6, 7}}, {&one, 3, {8, 9}}, {&one, 3, {20, 21, 22}}, {&one, 0, b}});
      check_rows(tree, 0, of_a, 0, 5);
      check_rows(tree, 5, of_c, 3, 3);
      check_rows(tree, 8, of_b, 0, 3);
    }
  }
}

TEST_CASE("a model of one block, and sizes") {
  const Golden golden = read_golden("qwen2");
  const auto backend = make_backend("reference", {});
  const auto source = make_weight_source(*golden.checkpoint, DType::f16);
  const auto whole = make_model(golden.config, *source, *backend, 4, {});
  std::size_t stored = 0;
  for (const CheckpointTensor& tensor : golden.checkpoint->tensors()) {
    std::size_t elements = 1;
    for (const std::int64_t extent : tensor.shape) elements *= static_cast<std::size_t>(extent);
    stored += tensor.shape.size() == 2 ? 2 * elements : 4 * elements;  // vectors are kept as f32
  }
  const auto embedding = static_cast<std::size_t>(golden.config.vocab_size * golden.config.hidden_size) * 2;
  const std::size_t row = static_cast<std::size_t>(golden.config.hidden_size) * 2;
  CHECK(whole->bytes_per_token() == stored - embedding + row);

  // The second block alone gives what it gives inside of the whole model.
  const auto block = make_model(golden.config, *source, *backend, 4, {false, false, 1, 1});
  KvCache cache(*backend, golden.config, 4, {CacheType::f32, CacheType::f32});
  std::vector<float> x(static_cast<std::size_t>(4 * golden.config.hidden_size));
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = std::sin(static_cast<float>(i));
  std::vector<float> y = x;
  whole->block(1, {x.data(), 4, golden.config.hidden_size}, cache.layer(1), 0);
  block->block(1, {y.data(), 4, golden.config.hidden_size}, cache.layer(0), 0);
  CHECK(x == y);
}

TEST_CASE("what does not fit is refused with a sentence") {
  const Golden golden = read_golden("llama-mha");
  const auto backend = make_backend("cpu", {});
  const auto source = make_weight_source(*golden.checkpoint, DType::f32);
  const auto model = make_model(golden.config, *source, *backend, 4, {.layers = 1});
  const std::int64_t hidden = golden.config.hidden_size;
  std::vector<float> x(static_cast<std::size_t>(5 * hidden));
  const KvCache cache(*backend, golden.config, 6, {});
  const std::vector<std::int32_t> bad = {0, static_cast<std::int32_t>(golden.config.vocab_size)};
  CHECK_THROWS_WITH(model->embed({x.data(), 2, hidden}, bad),
                    "token id 384 is outside the vocabulary of 384");
  CHECK_THROWS_AS(model->embed({x.data(), 3, hidden}, bad), std::invalid_argument);
  CHECK_THROWS_AS(model->block(0, {x.data(), 5, hidden}, cache.layer(0), 0), std::invalid_argument);
  CHECK_THROWS_AS(model->block(0, {x.data(), 4, hidden}, cache.layer(0), 3), std::invalid_argument);
  CHECK_THROWS_AS(model->block(1, {x.data(), 4, hidden}, cache.layer(1), 0), std::logic_error);
  const std::vector<Segment> few{{cache.layer(0), 0, 2}, {cache.layer(0), 2, 1}};
  CHECK_THROWS_WITH(model->block(0, {x.data(), 4, hidden}, few), "segments of 3 tokens for 4 rows");
  const std::vector<Segment> far{{cache.layer(0), 0, 2}, {cache.layer(0), 5, 2}};
  CHECK_THROWS_AS(model->block(0, {x.data(), 4, hidden}, far), std::invalid_argument);
  CHECK_THROWS_AS(model->block(0, {x.data(), 4, hidden}, std::vector<Segment>{}), std::invalid_argument);

  CHECK_THROWS_AS(KvCache(*backend, golden.config, 0, {}), std::invalid_argument);
  CHECK_THROWS_AS(KvCache::bytes(golden.config, std::int64_t{1} << 62, {}), std::invalid_argument);
  CHECK_THROWS_AS(workspace_bytes(golden.config, std::int64_t{1} << 62), std::invalid_argument);

  ModelConfig other = golden.config;
  other.model_type = "mamba";
  CHECK_THROWS_WITH(
      make_model(other, *source, *backend, 4, {}),
      "model_type \"mamba\" is not supported, expected one of llama, mistral, qwen2, qwen3, falcon");
  other = golden.config;
  other.intermediate_size += 1;
  CHECK_THROWS_AS(make_model(other, *source, *backend, 4, {}), std::runtime_error);
  other = golden.config;
  other.attention_bias = true;
  CHECK_THROWS_AS(make_model(other, *source, *backend, 4, {}), std::runtime_error);
  CHECK_THROWS_AS(make_backend("gpu", {}), std::invalid_argument);
}

}  // namespace spqr
