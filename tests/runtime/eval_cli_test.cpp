// spqr-eval as a user runs it.
#include <doctest/doctest.h>
#include <unistd.h>

#include <csignal>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/models/files.h"
#include "tests/runtime/small_models.h"
#include "tests/runtime/tools.h"

namespace spqr {
namespace {

std::string tasks(const std::string& form) {
  return (std::filesystem::path(SPQR_FIXTURES) / "tasks" / form).string();
}

struct Files {
  TemporaryDirectory directory;
  std::string model = file("stories.spqr");

  Files() { write_stories_model(model); }
  std::string file(const std::string& name) const { return (directory.path() / name).string(); }
};

}  // namespace

TEST_CASE("spqr-eval: a table, an object, and a line for every item") {
  const Files files;
  const Arguments common{"-m", files.model, "--data", tasks("official")};
  const auto with = [&](const Arguments& more) {
    Arguments all = common;
    all.insert(all.end(), more.begin(), more.end());
    return run("spqr-eval", all);
  };
  const Finished table = with({});
  CHECK(table.status == 0);
  for (const std::string task : {"winogrande", "piqa", "hellaswag", "arc_easy", "arc_challenge", "mean"})
    CHECK(contains(table.out, "\n" + task + " "));

  const Finished result = with(
      {"--json", "--tasks", "piqa,winogrande", "--limit", "1", "--log-samples", files.file("samples.jsonl")});
  CHECK(result.status == 0);
  const auto object = nlohmann::json::parse(result.out);
  CHECK(object.at("tasks").size() == 2);
  CHECK(object.at("tasks").at("piqa").at("items") == 1);
  CHECK(object.at("tasks").at("piqa").contains("acc_norm"));
  CHECK_FALSE(object.at("tasks").at("winogrande").contains("acc_norm"));
  CHECK(object.at("interrupted") == false);
  std::istringstream lines(read_bytes(files.file("samples.jsonl")));
  std::vector<nlohmann::json> samples;
  for (std::string line; std::getline(lines, line);) samples.push_back(nlohmann::json::parse(line));
  REQUIRE(samples.size() == 2);
  CHECK(samples[0].at("task") == "piqa");
  CHECK(samples[1].at("task") == "winogrande");
  CHECK(samples[0].at("loglikelihoods").size() == 2);
  CHECK(samples[0].at("gold") == 0);
  const auto& of = samples[0].at("loglikelihoods");
  CHECK(samples[0].at("choice") == (of[0] >= of[1] ? 0 : 1));
}

TEST_CASE("spqr-eval: wrong usage and wrong files") {
  const Files files;
  check_refused("spqr-eval", {"-m", files.model, "--tasks", "boolq"}, 2, "there is no task 'boolq'");
  check_refused("spqr-eval", {"-m", files.model, "--tasks", "piqa,piqa"}, 2, "has piqa twice");
  check_refused("spqr-eval", {"-m", files.model, "--limit", "0"}, 2, "--limit is 0");
  check_refused("spqr-eval", {"-m", files.model, "--data", files.directory.path().string()}, 1,
                "no file of the task winogrande");
  check_refused("spqr-eval",
                {"-m", files.model, "--data", tasks("official"), "--log-samples", "/nowhere/samples.jsonl"},
                1, "/nowhere/samples.jsonl");
  write_dense_model("golden/llama-mha", "", DType::f32, files.file("ids.spqr"));
  check_refused("spqr-eval", {"-m", files.file("ids.spqr"), "--data", tasks("official")}, 1, "no tokenizer");
}

TEST_CASE("spqr-eval: what was finished until Ctrl-C is printed, or nothing was") {
  const Files files;
  std::string lines;
  for (int i = 0; i < 20000; ++i)
    lines += R"({"goal": "Find a cat.", "sol1": "Look at it.", "sol2": "Look for it.", "label": 1})"
             "\n";
  files.directory.write("valid.jsonl", lines);
  Finished result;
  // It prints nothing that tells of its first item.
  for (useconds_t pause = 200'000; result.out.empty() && pause < 20'000'000; pause *= 2) {
    Process process(command("spqr-eval", {"-m", files.model, "--data", files.directory.path().string(),
                                          "--tasks", "piqa", "-t", "1", "--json"}));
    ::usleep(pause);
    process.send(SIGINT);
    result = process.finish();
    CHECK(result.status == 130);
    if (result.out.empty()) CHECK(contains(result.err, "interrupted before"));
  }
  const auto object = nlohmann::json::parse(result.out);
  CHECK(object.at("interrupted") == true);
  CHECK(object.at("tasks").at("piqa").at("items").get<int>() > 0);
}

}  // namespace spqr
