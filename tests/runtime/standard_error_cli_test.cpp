// Executables whose standard error cannot be written: closed, on a full disk, or without a reader.
#include <doctest/doctest.h>

#include <filesystem>
#include <utility>

#include "tests/models/files.h"
#include "tests/runtime/small_models.h"
#include "tests/runtime/tools.h"

namespace spqr {
namespace {

// Runs it through a shell that directs its output elsewhere.
Finished run_directed(const std::string& directions, const std::string& tool, const Arguments& arguments) {
  Arguments all{"/bin/sh", "-c", "\"$0\" \"$@\" " + directions};
  const Arguments line = command(tool, arguments);
  all.insert(all.end(), line.begin(), line.end());
  return run_process(all);
}

constexpr const char* kLost[] = {"2>&-", "2>/dev/full", "0<&- 2>&-"};

}  // namespace

TEST_CASE("an error that cannot be told is status 1 all the same, with every tool") {
  for (const char* directions : kLost) {
    for (const char* tool : {"spqr-bench", "spqr-inspect", "spqr-perplexity", "spqr-run", "spqr-tokenize"}) {
      CAPTURE(directions);
      CAPTURE(tool);
      Arguments arguments{"-m", "/nonexistent/x.spqr"};
      if (std::string(tool) == "spqr-run") arguments.insert(arguments.end(), {"-p", "x"});
      if (std::string(tool) == "spqr-tokenize") arguments.insert(arguments.end(), {"-p", "x"});
      if (std::string(tool) == "spqr-perplexity") arguments.insert(arguments.end(), {"-f", "x"});
      CHECK(run_directed(directions, tool, arguments).status == 1);
      CHECK(run_directed(directions, tool, {"--nonsense"}).status == 2);
    }
    CHECK(run_directed(directions, "spqr-quantize", {"/nonexistent", "/nonexistent/x.spqr"}).status == 1);
  }
}

TEST_CASE("what is told besides may be lost: the work is done, and the status is 1") {
  const TemporaryDirectory directory;
  const std::string model = (directory.path() / "stories.spqr").string();
  write_stories_model(model);
  const Arguments once{"-m", model, "-p", "Once", "-n", "8", "--temp", "0", "-t", "1"};
  const Finished expected = run("spqr-run", once);
  REQUIRE(expected.status == 0);
  for (const char* directions : kLost) {
    CAPTURE(directions);
    const Finished result = run_directed(directions, "spqr-run", once);
    CHECK(result.status == 1);
    CHECK(result.out == expected.out);
  }
  // Nothing that is told may go into a file that is opened in the place of standard error.
  const std::string checkpoint = std::string(SPQR_FIXTURES) + "/llama2c/stories260K.bin";
  const std::string packed = (directory.path() / "packed.spqr").string();
  CHECK(run_directed("2>&-", "spqr-quantize", {checkpoint, packed, "--scheme", "rtn"}).status == 1);
  CHECK(run("spqr-inspect", {"-m", packed, "--verify"}).status == 0);
}

TEST_CASE("a reader of both outputs that goes away ends it") {
  const TemporaryDirectory directory;
  const std::string model = (directory.path() / "stories.spqr").string();
  write_stories_model(model);
  const std::string status = (directory.path() / "status").string();
  Arguments all{"/bin/sh", "-c", "{ \"$0\" \"$@\" 2>&1; echo $? > '" + status + "'; } | head -n 1"};
  const Arguments line =
      command("spqr-run", {"-m", model, "-p", "Once", "--ignore-eos", "-n", "400", "-t", "1"});
  all.insert(all.end(), line.begin(), line.end());
  CHECK(run_process(all).status == 0);  // head's
  const std::string found = read_bytes(status);
  CHECK((found == "1\n" || found == "0\n"));
}

}  // namespace spqr
