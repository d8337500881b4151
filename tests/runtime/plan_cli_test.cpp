// --plan of spqr-inspect and spqr-run, without a GPU.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "tests/models/files.h"
#include "tests/runtime/small_models.h"
#include "tests/runtime/tools.h"

namespace spqr {
namespace {

Arguments of_33b(const Arguments& more) {
  Arguments all{"--plan",        "--synthetic",     "llama-33b", "--preset",
                "near-lossless", "--device-memory", "24GiB"};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

}  // namespace

TEST_CASE("spqr-inspect --plan: a model that is nowhere, on a GPU that is not there") {
  const Finished text = run("spqr-inspect", of_33b({"-c", "2048"}));
  CHECK(text.status == 0);
  CHECK(text.err.empty());
  for (const char* part : {"context    2048 tokens, f16 keys", "cuda", "blocks 0 to 59", "3.05 GiB",
                           "of 21.90 GiB that are free", "longest context that fits: "}) {
    CHECK_MESSAGE(contains(text.out, part), text.out);
  }
  const Finished json = run("spqr-inspect", of_33b({"-c", "3584", "-ctk", "q8_0", "-ctv", "q8_0", "--json"}));
  CHECK(json.status == 0);
  const auto object = nlohmann::json::parse(json.out);
  CHECK(object.at("fits") == true);
  CHECK(object.at("context") == 3584);
  CHECK(object.at("stages").at(0).at("kv_cache") == 3584LL * 60 * 2 * 6656 / 32 * 34);
}

TEST_CASE("spqr-inspect --plan: what does not fit is status 1 with the numbers, and fits in part") {
  const Arguments of_65b{"--plan", "--synthetic",     "llama-65b", "--preset",
                         "3bit",   "--device-memory", "24GiB",     "--json"};
  const Finished whole = run("spqr-inspect", of_65b);
  CHECK(whole.status == 1);
  CHECK(contains(whole.err, "too little memory on the GPU"));
  CHECK(contains(whole.err, "--gpu-layers"));
  CHECK(nlohmann::json::parse(whole.out).at("fits") == false);
  Arguments cut = of_65b;
  cut.insert(cut.end(), {"-ngl", "20"});
  const auto object = nlohmann::json::parse(run("spqr-inspect", cut).out);
  REQUIRE(object.at("stages").size() == 2);
  CHECK(object.at("stages").at(0).at("backend") == "cpu");
  CHECK(object.at("stages").at(0).at("blocks") == 60);
  CHECK(object.at("stages").at(1).at("backend") == "cuda");
  CHECK(object.at("stages").at(1).at("first_block") == 60);
}

TEST_CASE("spqr-inspect --plan and spqr-run --plan: a file, on a GPU and on the CPU") {
  const TemporaryDirectory folder;
  const std::string model = (folder.path() / "model.spqr").string();
  write_stories_model(model);
  const auto plan = [&](const std::string& tool, const Arguments& more) {
    Arguments arguments{"-m", model, "--plan", "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Finished finished = run(tool, arguments);
    CHECK(finished.status == 0);
    return nlohmann::json::parse(finished.out);
  };
  const auto gpu = plan("spqr-inspect", {"--device-memory", "2GiB", "-c", "100"});
  CHECK(gpu.at("stages").at(0).at("backend") == "cuda");
  CHECK(gpu.at("stages").at(0).at("kv_cache") == 100 * 5 * 2 * 32 * 2);
  CHECK(plan("spqr-run", {"--device-memory", "2GiB", "-c", "100"}) == gpu);
  const auto cpu = plan("spqr-run", {"--backend", "cpu"});
  CHECK(cpu.at("stages").at(0).at("backend") == "cpu");
  CHECK(cpu.at("stages").at(0).at("weights") == read_bytes(model).size());
  // As it would run: the model was made for 512.
  CHECK(plan("spqr-run", {"--backend", "cpu", "-c", "5000"}).at("context") == 512);
  CHECK(plan("spqr-inspect", {"--backend", "cpu", "-c", "5000"}).at("context") == 5000);
  const Finished small =
      run("spqr-run", {"-m", model, "--plan", "--backend", "cpu", "--device-memory", "1MiB"});
  CHECK(small.status == 1);
  CHECK(contains(small.err, "too little memory"));
}

TEST_CASE("--plan: wrong usage is one sentence and status 2") {
  check_refused("spqr-inspect", of_33b({"--device-memory", "x"}), 2, "'x' is no size");
  check_refused("spqr-inspect", {"--plan", "--synthetic", "llama-33b", "--device-memory", "24 tons"}, 2,
                "24 tons");
  check_refused("spqr-inspect", {"--plan"}, 2, "--synthetic SHAPE");
  check_refused("spqr-inspect", {"--plan", "--synthetic", "llama-8b"}, 2, "llama-8b");
  check_refused("spqr-inspect", {"--plan", "--synthetic", "llama-7b", "--preset", "2bit"}, 2, "2bit");
  check_refused("spqr-inspect", {"model.spqr", "--preset", "3bit"}, 2, "--preset is for --plan");
  check_refused("spqr-run", {"-m", "model.spqr", "-p", "x", "--device-memory", "24GiB"}, 2, "--plan");
}

}  // namespace spqr
