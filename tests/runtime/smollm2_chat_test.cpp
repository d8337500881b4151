// Three turns with the real chat model at a pseudo-terminal, word for word as transformers answers:
// tests/fixtures/dialogue.json, written by scripts/make_dialogue_fixture.py.
#include <doctest/doctest.h>
#include <fmt/core.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "tests/models/files.h"
#include "tests/runtime/terminal.h"
#include "tests/runtime/tools.h"

namespace spqr {

TEST_CASE("a dialogue with SmolLM2") {
  const char* gguf = std::getenv("SPQR_TEST_SMOLLM2_GGUF");
  if (gguf == nullptr) {
    fmt::print("skipped: needs SPQR_TEST_SMOLLM2_GGUF\n");
    return;
  }
  const TemporaryDirectory directory;
  const std::string model = (directory.path() / "smollm2.spqr").string();
  const std::string file = (directory.path() / "talk.json").string();
  REQUIRE(run("spqr-quantize", {gguf, model, "--scheme", "f32", "--quiet"}).status == 0);

  const auto dialogue =
      nlohmann::json::parse(read_bytes(std::filesystem::path(SPQR_FIXTURES) / "dialogue.json"));
  const auto& expected = dialogue["messages"];
  Terminal terminal(command("spqr-run", {"-m", model, "--temp", "0", "-c", "512", "--cache-type-v", "f32",
                                         "-n", std::to_string(dialogue["tokens"].get<int>()), "-sys",
                                         expected[0]["content"].get<std::string>()}),
                    {"NO_COLOR=1"});
  terminal.wait_for(kPrompt);
  for (std::size_t i = 1; i < expected.size(); i += 2) {
    terminal.type(expected[i]["content"].get<std::string>() + "\r");
    terminal.wait_for(kPrompt);
  }
  terminal.type("/save " + file + "\r");
  terminal.wait_for(kPrompt);
  CHECK(nlohmann::json::parse(read_bytes(file)) == expected);

  // Ctrl-C in the midst of a long answer.
  terminal.type("/set predict -1\r");
  terminal.wait_for(kPrompt);
  terminal.type("Tell me a very long story of a fox.\r");
  terminal.wait_for("fox.\r\n");
  terminal.wait_for("fox");
  terminal.type("\x03");
  terminal.wait_for("stopped");
  terminal.wait_for(kPrompt);
  terminal.type("\x04");
  CHECK(terminal.finish() == 0);
}

}  // namespace spqr
