// spqr-perplexity as a user runs it and stops it.
#include <doctest/doctest.h>
#include <unistd.h>

#include <csignal>
#include <nlohmann/json.hpp>
#include <string>

#include "tests/models/files.h"
#include "tests/runtime/small_models.h"
#include "tests/runtime/tools.h"

namespace spqr {
namespace {

// The stories model and a text of so many windows that nobody waits for the last.
class Stories {
 public:
  Stories() {
    write_stories_model(directory_.path() / "stories.spqr");
    std::string text;
    for (int i = 0; i < 8000; ++i)
      text += "Once upon a time, there was a little girl named Lily. She loved to play. ";
    directory_.write("stories.txt", text);
  }
  std::string file(const std::string& name) const { return (directory_.path() / name).string(); }
  Arguments arguments(const Arguments& more) const {
    Arguments all = command("spqr-perplexity",
                            {"-m", file("stories.spqr"), "-f", file("stories.txt"), "-c", "64", "-t", "1"});
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }

 private:
  TemporaryDirectory directory_;
};

}  // namespace

TEST_CASE("spqr-perplexity: what was measured until Ctrl-C is printed, as a part, and the status says so") {
  const Stories stories;
  for (const auto& [signal, status] : {std::pair(SIGINT, 130), std::pair(SIGTERM, 143)}) {
    Process process(stories.arguments({}));
    process.wait_for_output(60);  // some windows
    process.send(signal);
    const Finished result = process.finish();
    CHECK(result.status == status);
    const std::size_t last = result.out.rfind("\nperplexity ");
    REQUIRE(last != std::string::npos);
    CHECK(contains(result.out.substr(last), " +- "));
    CHECK(contains(result.out.substr(last), " windows of 64 tokens, interrupted, "));
    // The last running value is the whole one's.
    const std::size_t running = result.out.rfind('[', last);
    const std::string line = result.out.substr(running + 1, last - running - 1);
    const std::string windows = line.substr(0, line.find(']'));
    CHECK(contains(result.out.substr(last), "perplexity " + line.substr(line.find(' ') + 1) + " +- "));
    CHECK(contains(result.out.substr(last), " over " + windows + " of "));
  }
}

TEST_CASE("spqr-perplexity --help: -c is the size of a window") {
  const Finished help = run("spqr-perplexity", {"--help"});
  CHECK(contains(help.out, "tokens of a window; 0: 2048"));
  CHECK_FALSE(contains(help.out, "4096"));
}

TEST_CASE("spqr-perplexity: windows are no longer than the model was made for, with a warning") {
  const Stories stories;
  const Finished result =
      run("spqr-perplexity", {"-m", stories.file("stories.spqr"), "-f", stories.file("stories.txt"), "-c",
                              "1000", "--windows", "1"});
  CHECK(result.status == 0);
  CHECK(contains(result.out, "1 windows of 512 tokens"));
  CHECK(contains(result.err, "warning: -c 1000 is more than the model was made for; windows have 512"));
}

TEST_CASE("spqr-perplexity --json: an object with what was counted until Ctrl-C") {
  const Stories stories;
  Finished result;
  // It prints nothing that tells of its first window.
  for (useconds_t pause = 200'000; result.out.empty() && pause < 20'000'000; pause *= 2) {
    Process process(stories.arguments({"--json"}));
    ::usleep(pause);
    process.send(SIGINT);
    result = process.finish();
    CHECK(result.status == 130);
    if (result.out.empty()) CHECK(contains(result.err, "interrupted before"));
  }
  const auto object = nlohmann::json::parse(result.out);
  CHECK(object.at("interrupted") == true);
  CHECK(object.at("windows").get<int>() > 0);
  CHECK(object.at("tokens") == 64 * object.at("windows").get<int>());
  CHECK(object.at("perplexity").get<double>() > 1);
  CHECK(object.at("standard_error").get<double>() > 0);
  const Arguments whole{
      "-m",    stories.file("stories.spqr"), "-f", stories.file("stories.txt"), "-c", "64", "--windows", "2",
      "--json"};
  CHECK(nlohmann::json::parse(run("spqr-perplexity", whole).out).at("interrupted") == false);
}

}  // namespace spqr
