// How options are spelled, with every tool alike: what is a value and what a name, and which one is wrong.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "tests/models/files.h"
#include "tests/runtime/small_models.h"
#include "tests/runtime/tools.h"

namespace spqr {
namespace {

// The stories model, greedy.
class Stories {
 public:
  Stories() { write_stories_model(directory_.path() / "stories.spqr"); }
  Arguments with(const Arguments& more) const {
    Arguments all{"-m", (directory_.path() / "stories.spqr").string(), "--temp", "0", "-t", "2"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }

 private:
  TemporaryDirectory directory_;
};

}  // namespace

TEST_CASE("what an option takes as its value is not read as an option") {
  const Stories stories;
  for (const std::string prompt : {"-sys", "-cnv", "-ngl", "--n-predict", "--", "-h"}) {
    CAPTURE(prompt);
    const Finished result = run("spqr-run", stories.with({"-p", prompt, "-n", "1"}));
    CAPTURE(result.err);
    CHECK(result.status == 0);
    CHECK(result.out.starts_with(prompt));
  }
}

TEST_CASE("a value may stand in the same argument as its option") {
  const Stories stories;
  const std::string expected = run("spqr-run", stories.with({"-p", "Once", "-n", "12"})).out;
  for (const Arguments& spelled : std::vector<Arguments>{{"-n12"}, {"--predict=12"}, {"--n-predict=12"}}) {
    Arguments arguments = stories.with({"-p", "Once"});
    arguments.insert(arguments.end(), spelled.begin(), spelled.end());
    CHECK_MESSAGE(run("spqr-run", arguments).out == expected, spelled[0]);
  }
}

TEST_CASE("several letters behind one dash that no option has are one unknown option") {
  const Stories stories;
  check_refused("spqr-run", stories.with({"-hf", "foo/bar"}), 2, "there is no option -hf");
  check_refused("spqr-run", stories.with({"-p", "x", "-fa"}), 2, "there is no option -fa");
  check_refused("spqr-quantize", {"a", "b", "-ngl", "5"}, 2, "there is no option -ngl");
}

TEST_CASE("a value that is no number is named with its option") {
  const Stories stories;
  const auto refuses = [&](const Arguments& more, const std::string& part) {
    Arguments arguments = stories.with({"-p", "x"});
    arguments.insert(arguments.end(), more.begin(), more.end());
    check_refused("spqr-run", arguments, 2, part);
  };
  refuses({"-t", "x"}, "-t is 'x', expected a whole number");
  refuses({"--temp", "nan"}, "--temp is 'nan', expected a number");
  refuses({"-n", "1e3"}, "-n is '1e3', expected a whole number");
  refuses({"-n1e3"}, "-n is '1e3', expected a whole number");
  refuses({"-s", "abc"}, "-s is 'abc', expected a whole number");
  refuses({"-ngl", "x"}, "-ngl is 'x', expected a whole number");
  refuses({"--ctx-size=many"}, "--ctx-size is 'many', expected a whole number");
  refuses({"--json=maybe"}, "--json takes no value");
}

}  // namespace spqr
