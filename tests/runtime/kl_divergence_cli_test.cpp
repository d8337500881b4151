// spqr-perplexity's comparison with another model, as a user runs it.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "tests/models/files.h"
#include "tests/runtime/small_models.h"
#include "tests/runtime/tools.h"

namespace spqr {
namespace {

struct Files {
  TemporaryDirectory directory;
  std::string model = file("stories.spqr");

  Files() {
    write_stories_model(model);
    std::string text;
    for (int i = 0; i < 60; ++i) text += "Once upon a time, there was a little girl named Lily. ";
    directory.write("stories.txt", text);
  }
  std::string file(const std::string& name) const { return (directory.path() / name).string(); }
};

}  // namespace

TEST_CASE("spqr-perplexity: a model is compared with itself through a file") {
  const Files files;
  const std::string base = files.file("base.bin");
  const Arguments text{"-f", files.file("stories.txt"), "-c", "64"};
  const auto with = [&](const Arguments& more, const Arguments& last = {}) {
    Arguments all{"-m", files.model};
    all.insert(all.end(), more.begin(), more.end());
    all.insert(all.end(), last.begin(), last.end());
    return run("spqr-perplexity", all);
  };
  const Finished written = with(text, {"--kl-divergence-base", base, "--windows", "3", "--json"});
  CHECK(written.status == 0);
  CHECK(contains(written.err, "log-probabilities of 189 tokens take 190.5 KiB"));
  const auto of_base = nlohmann::json::parse(written.out);

  const Finished compared = with({"--kl-divergence", "--kl-divergence-base", base, "--json"});
  CHECK(compared.status == 0);
  const auto object = nlohmann::json::parse(compared.out);
  CHECK(object.at("perplexity") == of_base.at("perplexity"));
  CHECK(object.at("windows") == 3);
  CHECK(object.at("mean_kl").get<double>() >= 0);
  CHECK(object.at("mean_kl").get<double>() < 1e-5);
  CHECK(object.at("base_perplexity").get<double>() ==
        doctest::Approx(of_base.at("perplexity").get<double>()).epsilon(1e-4));
  for (const std::string member : {"mean_kl", "median_kl", "kl_90", "kl_99", "kl_99_9", "max_kl",
                                   "mean_p_change", "rms_p_change", "same_top", "log_perplexity_ratio"}) {
    CHECK(object.contains(member));
    CHECK(object.contains(member + "_error"));
  }
  const Finished table = with(text, {"--kl-divergence", "--kl-divergence-base", base, "--windows", "2"});
  CHECK(table.status == 0);
  CHECK(contains(table.out, "KL divergence from the base, nats, 126 tokens"));
  CHECK(contains(table.out, "the likeliest token is the same"));
}

TEST_CASE("spqr-perplexity: what cannot be compared") {
  const Files files;
  const std::string base = files.file("base.bin");
  const std::string text = files.file("stories.txt");
  REQUIRE(run("spqr-perplexity",
              {"-m", files.model, "-f", text, "-c", "64", "--windows", "2", "--kl-divergence-base", base})
              .status == 0);
  const auto refused = [&](const Arguments& more, int status, const std::string& part) {
    Arguments all{"-m", files.model, "--kl-divergence"};
    all.insert(all.end(), more.begin(), more.end());
    check_refused("spqr-perplexity", all, status, part);
  };
  refused({}, 2, "name it with --kl-divergence-base");
  refused({"--kl-divergence-base", text}, 1, "is no file of log-probabilities");
  refused({"--kl-divergence-base", files.file("none")}, 1, "none");
  refused({"--kl-divergence-base", base, "-c", "32"}, 2, "--ctx-size goes with -f");
  refused({"--kl-divergence-base", base, "-f", text, "-c", "32", "--windows", "2"}, 1,
          "windows of 64 tokens, expected 32");
  refused({"--kl-divergence-base", base, "-f", text}, 1, "has 2 windows, expected");
  files.directory.write("other.txt", "The sun was " + read_bytes(text));
  refused({"--kl-divergence-base", base, "-f", files.file("other.txt"), "--windows", "2"}, 1,
          "window 1 has other tokens");
  write_dense_model("golden/llama-mha", "", DType::f32, files.file("ids.spqr"));
  check_refused("spqr-perplexity",
                {"-m", files.file("ids.spqr"), "--kl-divergence", "--kl-divergence-base", base}, 1,
                "is of a model with 512 tokens, this one has 384");
  check_refused("spqr-perplexity",
                {"-m", files.model, "-f", text, "-c", "64", "--kl-divergence-base", "/dev/full"}, 1,
                "/dev/full: cannot be written");
}

}  // namespace spqr
