// Perplexity of small random models against transformers, and its standard error against the formula.
#include "runtime/perplexity.h"

#include <doctest/doctest.h>
#include <fmt/core.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "models/checkpoint.h"
#include "runtime/logits.h"
#include "tests/models/files.h"
#include "tests/runtime/small_models.h"

namespace spqr {
namespace {

nlohmann::json golden(const std::string& name) {
  return nlohmann::json::parse(
      read_bytes(std::filesystem::path(SPQR_FIXTURES) / "golden" / name / "golden.json"));
}

}  // namespace

TEST_CASE("-log softmax in double precision") {
  CHECK(negative_log_likelihood(std::vector<float>{1, 1, 1, 1}, 2) == doctest::Approx(std::log(4.0)));
  CHECK(negative_log_likelihood(std::vector<float>{0, std::log(3.0F)}, 0) == doctest::Approx(std::log(4.0)));
  CHECK(negative_log_likelihood(std::vector<float>{3e38F, -3e38F}, 0) == 0);
  for (const std::uint32_t bits : {0x7FC00000U, 0xFFC00000U, 0x7FC00001U, 0xFFC001FFU}) {
    std::vector<float> logits(40, 1.0F);
    logits[7] = std::bit_cast<float>(bits);
    CHECK(std::isnan(negative_log_likelihood(logits, 0)));
  }
  CHECK(negative_log_likelihood(std::vector<float>{1000, 1001}, 0) ==
        doctest::Approx(std::log(1 + std::exp(1.0))));
}

TEST_CASE("perplexity is that of transformers, in batches of any size") {
  const TemporaryDirectory directory;
  for (const std::string name :
       {"llama-mha", "llama-gqa-llama3rope-tied", "mistral-sliding", "qwen2", "qwen3"}) {
    const auto expected = golden(name);
    const auto ids = expected.at("ids").get<std::vector<std::int32_t>>();
    const auto path = directory.path() / (name + ".spqr");
    write_dense_model("golden/" + name, "", DType::f32, path);
    for (const std::string& backend : backend_names()) {
      for (const std::int64_t batch : {512, 7, 1}) {
        for (const std::int64_t logits : {256, 3}) {
          Session session({.model = path,
                           .backend = backend,
                           .batch = batch,
                           .logits_tokens = logits,
                           .cache_types = {CacheType::f32, CacheType::f32}});
          const Perplexity result = evaluate_perplexity(session, {ids}, {}, {});
          CAPTURE(name);
          CAPTURE(backend);
          CAPTURE(batch);
          CHECK(fmt::format("{:.3e}", result.perplexity) ==
                fmt::format("{:.3e}", expected.at("perplexity").get<double>()));
          CHECK(result.windows == 1);
          CHECK(result.predicted_tokens == static_cast<std::int64_t>(ids.size()) - 1);
        }
      }
    }
  }
}

TEST_CASE("windows count alike, start with an empty cache, and spread into the standard error") {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "model.spqr";
  write_dense_model("golden/llama-mha", "", DType::f32, path);
  const auto ids = golden("llama-mha").at("ids").get<std::vector<std::int32_t>>();
  const std::vector<std::int32_t> first(ids.begin(), ids.begin() + 24);
  const std::vector<std::int32_t> second(ids.begin() + 24, ids.begin() + 40);
  Session session({.model = path, .backend = "reference", .logits_tokens = 8});
  const auto of = [&](const std::vector<std::vector<std::int32_t>>& windows) {
    return evaluate_perplexity(session, windows, {}, {});
  };
  const double a = of({first}).perplexity;
  const double b = of({second}).perplexity;
  std::vector<double> running;
  const Perplexity both = evaluate_perplexity(
      session, {first, second}, [&](std::int64_t, double value) { running.push_back(value); }, {});
  CHECK(both.perplexity == doctest::Approx(std::sqrt(a * b)).epsilon(1e-9));
  REQUIRE(running.size() == 2);
  CHECK(running[0] == doctest::Approx(a).epsilon(1e-9));
  CHECK(running[1] == both.perplexity);

  // The error of a mean of n values is sqrt(sum (x - mean)^2 / (n - 1) / n); exp carries it over, to first
  // order.
  std::vector<double> losses;
  for (const auto& window : {first, second}) {
    session.rewind(0);
    session.visit_logits(window, [&](Matrix logits, std::int64_t row) {
      for (std::int64_t t = 0; t < logits.rows; ++t) {
        const auto next = static_cast<std::size_t>(row + t + 1);
        if (next == window.size()) continue;
        losses.push_back(negative_log_likelihood(
            {logits.data + t * logits.cols, static_cast<std::size_t>(logits.cols)}, window[next]));
      }
    });
  }
  double mean = 0;
  for (const double loss : losses) mean += loss / static_cast<double>(losses.size());
  double squares = 0;
  for (const double loss : losses) squares += (loss - mean) * (loss - mean);
  const auto n = static_cast<double>(losses.size());
  CHECK(both.predicted_tokens == 23 + 15);
  CHECK(both.standard_error ==
        doctest::Approx(both.perplexity * std::sqrt(squares / (n - 1) / n)).epsilon(1e-6));
}

TEST_CASE("evaluation stops when told to, and counts whole windows") {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "model.spqr";
  write_dense_model("golden/llama-mha", "", DType::f32, path);
  Session session({.model = path, .logits_tokens = 4});
  const std::vector<std::vector<std::int32_t>> windows(5, {1, 2, 3});
  const auto blocks = static_cast<int>(session.config().num_hidden_layers);
  REQUIRE(blocks > 1);
  int asked = 0;
  const Perplexity result =
      evaluate_perplexity(session, windows, {}, [&] { return ++asked > 2 * blocks + 1; });
  CHECK(result.interrupted);
  CHECK(result.windows == 2);
  CHECK(asked == 2 * blocks + 2);
  CHECK_THROWS_AS(evaluate_perplexity(session, {{1}}, {}, {}), std::invalid_argument);
}

TEST_CASE("ids outside the vocabulary are refused before anything is looked up by them") {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "model.spqr";
  write_dense_model("golden/llama-mha", "", DType::f32, path);
  // The bad id is the first of the second batch: a target of the first one's logits.
  Session session({.model = path, .batch = 2});
  for (const std::int32_t bad : {384, 100'000'000, -1, -100'000'000}) {
    CAPTURE(bad);
    CHECK_THROWS_AS(evaluate_perplexity(session, {{1, 2, bad, 3}}, {}, {}), std::invalid_argument);
    CHECK_THROWS_AS(evaluate_perplexity(session, {{1, 2}, {1, bad}}, {}, {}), std::invalid_argument);
  }
}

TEST_CASE("a model whose logits are no numbers has no perplexity") {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "model.spqr";
  write_dense_model("golden/llama-mha", "", DType::f32, path);
  const auto source = open_checkpoint(std::filesystem::path(SPQR_FIXTURES) / "golden" / "llama-mha", {});
  const std::vector<float> head = source->read("lm_head.weight");
  std::string bytes = read_bytes(path);
  const auto at = bytes.find(std::string(reinterpret_cast<const char*>(head.data()), 64 * sizeof(float)));
  REQUIRE(at != std::string::npos);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  std::memcpy(bytes.data() + at, &nan, sizeof nan);
  Session session({.model = directory.write("damaged.spqr", bytes)});
  const std::string message = message_of([&] { evaluate_perplexity(session, {{1, 2, 3}}, {}, {}); });
  CHECK(contains(message, "not finite"));
  CHECK(contains(message, "--verify"));
}

}  // namespace spqr
