// Sessions: what is evaluated at once, in parts, by any number of threads, and again after a rewind.
#include "runtime/session.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "runtime/generate.h"
#include "tests/models/files.h"
#include "tests/runtime/small_models.h"

namespace spqr {
namespace {

using Ids = std::vector<std::int32_t>;

// Random models whose ids and continuations transformers computed.
const std::vector<std::string> kGolden{"llama-mha",    "llama-gqa-llama3rope-tied", "llama-linear-rope",
                                       "llama-ragged", "mistral-sliding",           "qwen2",
                                       "qwen3"};

class Golden {
 public:
  explicit Golden(const std::string& name = "llama-mha")
      : values(nlohmann::json::parse(
            read_bytes(std::filesystem::path(SPQR_FIXTURES) / "golden" / name / "golden.json"))),
        ids(values.at("ids").get<Ids>()) {
    write_dense_model("golden/" + name, "", DType::f32, path());
  }
  std::filesystem::path path() const { return directory_.path() / "model.spqr"; }
  Ids part(std::size_t begin, std::size_t end) const {
    return {ids.begin() + static_cast<std::ptrdiff_t>(begin), ids.begin() + static_cast<std::ptrdiff_t>(end)};
  }

 private:
  TemporaryDirectory directory_;

 public:
  nlohmann::json values;
  Ids ids;
};

std::vector<float> last_logits(Session& session, const Ids& ids) {
  const auto logits = session.forward(ids);
  return {logits.begin(), logits.end()};
}

std::vector<float> all_logits(Session& session, const Ids& ids) {
  std::vector<float> all;
  session.visit_logits(ids, [&](Matrix logits, std::int64_t first) {
    REQUIRE(static_cast<std::int64_t>(all.size()) == first * logits.cols);
    all.insert(all.end(), logits.data, logits.data + logits.rows * logits.cols);
  });
  return all;
}

void check_close(const std::vector<float>& a, const std::vector<float>& b) {
  REQUIRE(a.size() == b.size());
  float worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i) worst = std::max(worst, std::abs(a[i] - b[i]));
  CHECK(worst < 1e-4F);
}

}  // namespace

TEST_CASE("a prompt in batches of 7 gives the logits of all at once") {
  const Golden golden;
  for (const std::string& backend : backend_names()) {
    CAPTURE(backend);
    Session whole(
        {.model = golden.path(), .backend = backend, .cache_types = {CacheType::f32, CacheType::f32}});
    Session parts({.model = golden.path(),
                   .backend = backend,
                   .batch = 7,
                   .logits_tokens = 3,
                   .cache_types = {CacheType::f32, CacheType::f32}});
    const std::vector<float> expected = all_logits(whole, golden.ids);
    CHECK(expected.size() == golden.ids.size() * 384);
    check_close(all_logits(parts, golden.ids), expected);
    CHECK(parts.length() == whole.length());

    // forward() gives the last of them.
    whole.rewind(0);
    parts.rewind(0);
    const std::vector<float> last(expected.end() - 384, expected.end());
    check_close(last_logits(whole, golden.ids), last);
    check_close(last_logits(parts, golden.ids), last);
  }
}

TEST_CASE("logits are the same bits for any number of threads") {
  for (const std::string name : {"llama-mha", "llama-gqa-llama3rope-tied"}) {
    const Golden golden(name);
    for (const CacheType type : {CacheType::f32, CacheType::f16, CacheType::q8_0}) {
      std::vector<float> prompt;
      std::vector<float> next;
      for (const int threads : {1, 2, 3}) {
        Session session({.model = golden.path(),
                         .backend = "cpu",
                         .threads = threads,
                         .logits_tokens = 16,
                         .cache_types = {type, type}});
        const std::vector<float> of_prompt = all_logits(session, golden.ids);
        const std::vector<float> of_next = last_logits(session, {5});  // one token takes other paths
        if (threads == 1) {
          prompt = of_prompt;
          next = of_next;
        }
        CAPTURE(threads);
        CHECK(of_prompt == prompt);
        CHECK(of_next == next);
      }
    }
  }
}

TEST_CASE("a rewound session forgets what came after") {
  const Golden golden;
  for (const std::string& backend : backend_names()) {
    CAPTURE(backend);
    Session session({.model = golden.path(), .backend = backend});
    session.forward(golden.part(0, 10));
    const std::vector<float> expected = last_logits(session, golden.part(10, 30));
    CHECK(session.length() == 30);
    Session fresh({.model = golden.path(), .backend = backend});
    check_close(expected, last_logits(fresh, golden.part(0, 30)));
    session.rewind(10);
    CHECK(session.length() == 10);
    const std::vector<float> other = last_logits(session, golden.part(20, 40));
    CHECK(other != expected);
    session.rewind(10);
    CHECK(last_logits(session, golden.part(10, 30)) == expected);
  }
}

TEST_CASE("a session is not rewound to tokens it does not have") {
  const Golden golden;
  Session session({.model = golden.path(), .context = 32});
  session.forward(golden.part(0, 10));
  CHECK_THROWS_AS(session.rewind(11), std::invalid_argument);
  CHECK_THROWS_AS(session.rewind(-1), std::invalid_argument);
  CHECK(session.length() == 10);
  session.rewind(10);
  CHECK(session.length() == 10);
}

TEST_CASE("a full context refuses more and keeps what it has") {
  const Golden golden;
  for (const std::int64_t batch : {4, 512}) {
    Session session({.model = golden.path(), .context = 16, .batch = batch});
    CHECK(session.context() == 16);
    CHECK_THROWS_AS(session.forward(golden.part(0, 17)), std::out_of_range);
    CHECK(session.length() == 0);
    session.forward(golden.part(0, 16));
    CHECK_THROWS_AS(session.forward(golden.part(16, 17)), std::out_of_range);
    CHECK(session.length() == 16);
    session.rewind(15);
    CHECK_NOTHROW(session.forward(golden.part(15, 16)));
  }
}

TEST_CASE("ids outside the vocabulary and no ids are refused") {
  const Golden golden;
  for (const std::string& backend : backend_names()) {
    CAPTURE(backend);
    Session session({.model = golden.path(), .backend = backend});
    for (const std::int32_t bad : {-1, 384, 2147483647}) {
      CHECK_THROWS_AS(session.forward(Ids{1, bad}), std::invalid_argument);
    }
    CHECK_THROWS_AS(session.forward(Ids{}), std::invalid_argument);
    CHECK_NOTHROW(session.forward(Ids{0, 383}));
  }
}

TEST_CASE("greedy continuations are those of transformers, until the end of text") {
  int ended = 0;
  for (const std::string& name : kGolden) {
    const Golden golden(name);
    // Transformers was not told to stop; one model says its end of text.
    Ids expected = golden.values.at("greedy_next_20").get<Ids>();
    const auto end = std::find(expected.begin(), expected.end(), 2);
    const FinishReason reason = end == expected.end() ? FinishReason::length : FinishReason::eos;
    expected.erase(end, expected.end());
    if (reason == FinishReason::eos) ++ended;
    for (const std::string& backend : backend_names()) {
      CAPTURE(name);
      CAPTURE(backend);
      Session session(
          {.model = golden.path(), .backend = backend, .cache_types = {CacheType::f32, CacheType::f32}});
      REQUIRE(session.config().eos_token_ids == Ids{2});
      Sampler sampler({.temperature = 0});
      const GenerateResult result =
          generate(session, sampler, golden.values.at("greedy_prompt").get<Ids>(), {.max_tokens = 20}, {});
      CHECK(result.ids == expected);
      CHECK(result.reason == reason);
    }
  }
  CHECK(ended == 1);
}

}  // namespace spqr
