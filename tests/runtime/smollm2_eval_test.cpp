// Tasks with the real model: the likelihoods that transformers computes in f32, choice by choice.
#include <doctest/doctest.h>
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/models/files.h"
#include "tests/runtime/tools.h"
#include "tests/test_data.h"

namespace spqr {

TEST_CASE("likelihoods of SmolLM2 on five tasks") {
  const char* gguf = std::getenv("SPQR_TEST_SMOLLM2_GGUF");
  if (gguf == nullptr) {
    fmt::print("skipped: needs SPQR_TEST_SMOLLM2_GGUF\n");
    return;
  }
  const auto golden = test_data("golden/zeroshot-smollm2.json");
  const auto tasks = test_data("tasks");
  if (!golden || !tasks) return;
  const auto expected = nlohmann::json::parse(read_bytes(*golden));

  const TemporaryDirectory directory;
  const std::string model = (directory.path() / "smollm2.spqr").string();
  const auto samples = directory.path() / "samples.jsonl";
  REQUIRE(run("spqr-quantize", {gguf, model, "--scheme", "f16", "--quiet"}).status == 0);
  constexpr std::size_t kItems = 10;
  // All five in one go could take the minute that a process is given.
  std::size_t compared = 0;
  for (const auto& [task, values] : expected.items()) {
    const Finished result =
        run("spqr-eval", {"-m", model, "--tasks", task, "--data", tasks->string(), "--limit",
                          std::to_string(kItems), "--log-samples", samples.string(), "--activations", "f32"});
    REQUIRE(result.status == 0);
    std::istringstream lines(read_bytes(samples));
    for (std::string line; std::getline(lines, line); ++compared) {
      const auto item = nlohmann::json::parse(line);
      const auto index = item.at("index").get<std::size_t>();
      CAPTURE(task);
      CAPTURE(index);
      const auto theirs = values.at("loglikelihoods").at(index).get<std::vector<double>>();
      const auto ours = item.at("loglikelihoods").get<std::vector<double>>();
      REQUIRE(ours.size() == theirs.size());
      for (std::size_t c = 0; c < ours.size(); ++c)
        CHECK(std::abs(ours[c] - theirs[c]) <= 0.02 + 0.001 * std::abs(theirs[c]));
      auto sorted = theirs;
      std::ranges::sort(sorted, std::greater<>());
      if (sorted[0] - sorted[1] > 0.1)
        CHECK(item.at("choice").get<std::ptrdiff_t>() == std::ranges::max_element(theirs) - theirs.begin());
    }
  }
  CHECK(compared == 5 * kItems);
}

}  // namespace spqr
