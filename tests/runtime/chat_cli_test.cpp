// Conversations through spqr-run: commands and options, at a pseudo-terminal and through pipes.
#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "tests/runtime/chat_person.h"

namespace spqr {
namespace {

Finished piped(const std::string& input, const Arguments& arguments) {
  std::string line = "printf '" + input + "' |";
  for (const std::string& argument : arguments) line += " '" + argument + "'";
  return run_process({"/bin/sh", "-c", line});
}

}  // namespace

TEST_CASE("a dialogue at a terminal") {
  Person person;
  person.type("One.");
  person.type("Two.");
  CHECK(contains(person.type("/stats"), "of 512 tokens"));
  const std::vector<std::string> before = person.messages();
  CHECK(before.size() == 4);
  CHECK(before[0] == "user: One.");
  CHECK(before[2] == "user: Two.");
  person.type("/regen");
  CHECK(person.messages() == before);
  const auto context = [&] {
    const std::string screen = person.type("/stats");
    return screen.substr(screen.rfind("context: "));
  };
  const std::string two_turns = context();
  person.type("/undo");
  CHECK(person.messages().size() == 2);
  CHECK(context() != two_turns);
  person.type("/load " + person.stories_.file("talk.json"));
  CHECK(person.messages().size() == 2);
  CHECK(person.said(0) == "user: One.");
  person.type("/system Be kind.");
  CHECK(person.messages().front() == "system: Be kind.");
  person.type("/reset");
  CHECK(context().starts_with("context: 0 of 512 tokens"));
  CHECK(person.messages() == std::vector<std::string>{"system: Be kind."});
  CHECK(contains(person.type("/system \"\""), "there is no system message"));
  CHECK(person.messages().empty());
  CHECK(contains(person.type("/set temp 0.5"), "temp 0.5"));
  CHECK(contains(person.type("/set temp warm"), "expected a number"));
  CHECK(contains(person.type("/set seed 7"), "seed 7"));
  CHECK_FALSE(contains(person.type("/set seed -1"), "seed 7"));
  CHECK(contains(person.type("/set predict 3"), "predict 3"));
  CHECK(contains(person.type("/help"), "/regen"));
  CHECK(contains(person.type("/nothing"), "there is no command /nothing"));
  CHECK(contains(person.type("/save"), "needs a file's name"));
  CHECK(contains(person.type("/load /nonexistent/talk.json"), "/nonexistent/talk.json"));
  person.terminal_.type("/quit\r");
  CHECK(person.terminal_.finish() == 0);
}

TEST_CASE("a first message that is given is shown as one that is typed") {
  Person person({"-p", "Zero."});
  CHECK(contains(person.terminal_.screen(), "> Zero.\r\n"));
  person.type("One.");
  CHECK(person.said(0) == "user: Zero.");
}

TEST_CASE("without -p a terminal is talked with, a pipe is not") {
  const Stories stories;
  Terminal terminal(command("spqr-run", {"-m", stories.file("stories.spqr"), "--chat-template", "vicuna"}),
                    {"NO_COLOR=1"});
  terminal.wait_for(kPrompt);
  terminal.type("\x04");
  CHECK(terminal.finish() == 0);
  check_refused("spqr-run", {"-m", stories.file("stories.spqr")}, 2, "no prompt");
  Terminal silent(command("spqr-run", {"-m", stories.file("stories.spqr"), "-no-cnv"}));
  CHECK(silent.finish() == 2);
  CHECK(contains(silent.screen(), "no prompt"));
}

TEST_CASE("a conversation through pipes: a message a line, answers alone on standard output") {
  const Stories stories;
  const Finished result = piped("One.\\nTwo\\\\\\nlines.\\n/save " + stories.file("talk.json") + "\\n",
                                stories.chat({"-sys", "Be kind.", "-p", "Zero."}));
  CHECK(result.status == 0);
  const std::vector<std::string> said = stories.saved("talk.json");
  REQUIRE(said.size() == 7);
  CHECK(said[0] == "system: Be kind.");
  CHECK(said[1] == "user: Zero.");
  CHECK(said[3] == "user: One.");
  CHECK(said[5] == "user: Two\nlines.");
  std::string answers;
  for (const std::size_t i : {2, 4, 6}) answers += said[i].substr(std::string("assistant: ").size()) + "\n";
  CHECK(result.out == answers);
}

TEST_CASE("a single turn, with what the model is told in a file") {
  const Stories stories;
  std::ofstream(stories.file("told.txt")) << "Be kind.\n";
  const std::string talk = stories.file("talk.json");
  const Arguments more{"-st", "-sysf", stories.file("told.txt")};
  CHECK(piped("One.\n/save " + talk + "\n", stories.chat(more)).status == 0);
  CHECK_FALSE(std::filesystem::exists(talk));  // it had ended
  CHECK(piped("/save " + talk + "\nOne.\n", stories.chat(more)).status == 0);
  CHECK(stories.saved("talk.json") == std::vector<std::string>{"system: Be kind."});
}

TEST_CASE("answers that cannot be written, and messages that are refused, are failures") {
  const Stories stories;
  std::string line = "printf 'One.\\nTwo.\\n' |";
  for (const std::string& argument : stories.chat({})) line += " '" + argument + "'";
  const Finished full = run_process({"/bin/sh", "-c", line + " > /dev/full"});
  CHECK(full.status == 1);
  CHECK(contains(full.err, "cannot write to standard output"));
  std::string text;
  while (text.size() < 4000) text += "word ";
  CHECK(piped(text + "\\nOne.\\n", stories.chat({})).status == 1);
}

TEST_CASE("a prompt cache saves what was evaluated") {
  const Stories stories;
  const Arguments more{"--prompt-cache", stories.file("cache")};
  const Finished first = piped("One.\\n/stats\\n", stories.chat(more));
  const Finished second = piped("One.\\n/stats\\n", stories.chat(more));
  CHECK(second.status == 0);
  CHECK(second.out == first.out);
  CHECK_FALSE(contains(first.err, "prompt 1 tokens"));
  CHECK(contains(second.err, "prompt 1 tokens"));
  CHECK((std::filesystem::status(stories.file("cache")).permissions() & std::filesystem::perms(077)) ==
        std::filesystem::perms::none);
  check_refused("spqr-run",
                {"-m", stories.file("stories.spqr"), "-p", "x", "--prompt-cache", "/nonexistent/cache"}, 1,
                "/nonexistent/cache: cannot be written");
  const Arguments plain{
      "-m", stories.file("stories.spqr"), "-p", "Once", "-n", "4", "--prompt-cache", stories.file("bad")};
  write_dense_model("llama2c/stories260K.bin", "llama2c/tok512.bin", DType::f16, stories.file("bad"));
  check_refused("spqr-run", plain, 1, "is no prompt cache");
}

TEST_CASE("options of conversations that do not fit are refused") {
  const Stories stories;
  const std::string model = stories.file("stories.spqr");
  check_refused("spqr-run", {"-m", model, "-cnv"}, 1, "--chat-template");
  check_refused("spqr-run", {"-m", model, "-cnv", "--chat-template", "nobody"}, 2,
                "there is no chat template 'nobody'");
  for (const char* option : {"--json", "--parse-special", "--no-display-prompt", "--context-shift"})
    check_refused("spqr-run", {"-m", model, "-cnv", option}, 2, "not for a conversation");
  check_refused("spqr-run", {"-m", model, "-p", "x", "-sys", "y"}, 2, "give -cnv too");
  check_refused("spqr-run", {"-m", model, "-cnv", "-no-cnv"}, 2, "both given");
  check_refused("spqr-run", {"-m", model, "-cnv", "-sys", "x", "-sysf", "y"}, 2, "both given");
  std::ofstream(stories.file("silent.jinja"))
      << "{% for m in messages %}{% if m.role != 'system' %}{{ m.content }}{% endif %}{% endfor %}";
  check_refused("spqr-run",
                {"-m", model, "-cnv", "-sys", "x", "--chat-template", stories.file("silent.jinja")}, 1,
                "does not write system messages");
}

}  // namespace spqr
