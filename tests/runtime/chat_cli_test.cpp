// Conversations through spqr-run: at a pseudo-terminal and through pipes.
#include <doctest/doctest.h>
#include <termios.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/models/files.h"
#include "tests/runtime/small_models.h"
#include "tests/runtime/terminal.h"
#include "tests/runtime/tools.h"

namespace spqr {
namespace {

// A model that tells stories, asked in vicuna's manner.
class Stories {
 public:
  Stories() { write_stories_model(directory_.path() / "stories.spqr"); }

  Arguments chat(const Arguments& more) const {
    Arguments all = command("spqr-run", {"-m", file("stories.spqr"), "-cnv", "--chat-template", "vicuna",
                                         "--temp", "0", "-t", "1", "-n", "8"});
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  std::string file(const std::string& name) const { return (directory_.path() / name).string(); }
  // Messages that /save wrote: "role: content".
  std::vector<std::string> saved(const std::string& name) const {
    std::vector<std::string> lines;
    for (const auto& message : nlohmann::json::parse(read_bytes(file(name))))
      lines.push_back(message["role"].get<std::string>() + ": " + message["content"].get<std::string>());
    return lines;
  }

 private:
  TemporaryDirectory directory_;
};

// A chat at a terminal whose person has typed nothing yet.
class Person {
 public:
  explicit Person(const Arguments& more = {}, const std::vector<std::string>& environment = {"NO_COLOR=1"})
      : terminal_(stories_.chat(more), environment) {
    terminal_.wait_for(kPrompt);
  }
  // Types a line and waits for the next prompt; what came until then.
  std::string type(const std::string& keys) {
    terminal_.type(keys + "\r");
    return terminal_.wait_for(kPrompt);
  }
  // What the person has said and heard.
  std::vector<std::string> messages() {
    type("/save " + stories_.file("talk.json"));
    return stories_.saved("talk.json");
  }
  std::string said(std::size_t turn) { return messages().at(2 * turn); }

  Stories stories_;
  Terminal terminal_;
};

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

TEST_CASE("lines are edited and remembered") {
  Person person;
  person.type("xOne\x01\x04\x05.");  // to the beginning, delete, to the end
  CHECK(person.said(0) == "user: One.");
  person.type("Two words\x17things\x7f");  // delete a word, delete a character
  CHECK(person.said(1) == "user: Two thing");
  person.type("three\033[D\033[D-\033[3~");  // two to the left; delete under the cursor
  CHECK(person.said(2) == "user: thr-e");
  person.terminal_.type("\033[A");  // /save
  person.terminal_.type("\033[A");  // the message before it
  person.type("");
  CHECK(person.said(3) == "user: thr-e");
}

TEST_CASE("messages of several lines") {
  Person person;
  person.terminal_.type("One\\\r");
  person.terminal_.wait_for(kContinued);
  person.type("Two");
  CHECK(person.said(0) == "user: One\nTwo");
  person.terminal_.type("\"\"\"Three\r");
  person.terminal_.wait_for(kContinued);
  person.terminal_.type("/Four\r");
  person.terminal_.wait_for(kContinued);
  person.type("Five\"\"\"");
  CHECK(person.said(1) == "user: Three\n/Four\nFive");
  person.type("\033[200~Six\rSeven\033[201~");  // as terminals hand over what was pasted
  CHECK(person.said(2) == "user: Six\nSeven");
  person.type("\"\"\"/quit\"\"\"");
  CHECK(person.said(3) == "user: /quit");
  person.type("\033[200~/usr/bin\r/usr/lib\033[201~");
  CHECK(person.said(4) == "user: /usr/bin\n/usr/lib");
}

TEST_CASE("text that is no UTF-8, and text that is") {
  Person person;
  person.type("a\xff\xc3(\xf0\x9f\x98\x80\xe2\x82");
  CHECK(person.said(0) == "user: a\xef\xbf\xbd\xef\xbf\xbd(\xf0\x9f\x98\x80\xef\xbf\xbd");
}

TEST_CASE("100 KB typed at once are one message") {
  Person person;
  std::string text;
  while (text.size() < 100'000) text += "word ";
  const std::string answer = person.type(text);
  CHECK(contains(answer, "the context has 512; -c makes it larger"));
  person.type("\033[200~" + text + "\033[201~");
  person.type("One.");
  CHECK(person.said(0) == "user: One.");
}

TEST_CASE("the terminal may change its size while a line is typed") {
  Person person;
  person.terminal_.type("One ");
  person.terminal_.wait_for("One ");
  person.terminal_.resize(10, 20);
  person.terminal_.type("two three four five six seven.");
  person.terminal_.wait_for("seven.");
  person.terminal_.resize(40, 132);
  person.type("");
  CHECK(person.said(0) == "user: One two three four five six seven.");
}

TEST_CASE("after Ctrl-Z and fg a line is edited as before") {
  Person person;
  person.terminal_.type("One ");
  person.terminal_.wait_for("One ");
  person.terminal_.suspend();
  person.terminal_.wait_for("One ");  // it is drawn again
  person.type("twox\x7f");
  CHECK(person.said(0) == "user: One two");
}

TEST_CASE("what is typed while an answer comes waits for its turn") {
  Person person;
  person.terminal_.type("One.\rTwo.\r/save " + person.stories_.file("talk.json") + "\r\x04");
  CHECK(person.terminal_.finish() == 0);
  const std::vector<std::string> said = person.stories_.saved("talk.json");
  REQUIRE(said.size() == 4);
  CHECK(said[2] == "user: Two.");
}

TEST_CASE("Ctrl-C stops an answer, and twice in a row leaves") {
  Person person({"--ignore-eos", "--backend", "reference", "-n", "-1"});
  person.terminal_.type("One.\r");
  person.terminal_.wait_for("One.\r\n");
  person.terminal_.wait_for(" ");  // it has begun
  person.terminal_.type("\x03");
  CHECK(contains(person.terminal_.wait_for(kPrompt), "stopped"));
  CHECK(person.messages().size() == 2);
  person.terminal_.type("half a line\x03");
  person.terminal_.wait_for("Ctrl-C again leaves");
  person.terminal_.wait_for(kPrompt);
  person.terminal_.type("\x03");
  CHECK(person.terminal_.finish() == 130);
}

TEST_CASE("signals that end a program end a conversation") {
  for (const int signal : {SIGTERM, SIGHUP, SIGQUIT}) {
    Person person;
    person.terminal_.type("half a line");
    person.terminal_.wait_for("half a line");
    const auto before = person.terminal_.settings();
    person.terminal_.send(signal);
    CHECK(person.terminal_.finish() == 128 + signal);
    CHECK((before & ECHO) == 0);  // lines were edited
    CHECK((person.terminal_.settings() & (ECHO | ICANON)) == (ECHO | ICANON));
  }
}

TEST_CASE("a terminal that hangs up ends a conversation, and the prompt cache is saved") {
  for (const bool answering : {false, true}) {
    CAPTURE(answering);
    const Stories stories;
    const std::string cache = stories.file("cache");
    Terminal terminal(
        stories.chat({"--prompt-cache", cache, "--ignore-eos", "--backend", "reference", "-n", "20"}),
        {"NO_COLOR=1"});
    terminal.wait_for(kPrompt);
    terminal.type("One.\r");
    terminal.wait_for(kPrompt);
    if (answering) {
      terminal.type("/set predict -1\r");
      terminal.wait_for(kPrompt);
      terminal.type("Two.\r");
      terminal.wait_for("Two.\r\n");
      terminal.wait_for(" ");
    }
    terminal.hang_up();
    CHECK(terminal.finish() == 128 + SIGHUP);
    CHECK(std::filesystem::exists(cache));
  }
}

TEST_CASE("the end of input leaves") {
  Person person;
  person.terminal_.type("\x04");
  CHECK(person.terminal_.finish() == 0);
}

TEST_CASE("colour is for terminals that have it, and off on request") {
  const std::string green = "\033[1;32m";
  const Stories stories;
  const auto screen = [&](const std::vector<std::string>& environment) {
    Terminal terminal(stories.chat({}), environment);
    terminal.wait_for(">");
    return terminal.screen();
  };
  CHECK(contains(screen({"NO_COLOR="}), green));
  CHECK_FALSE(contains(screen({"NO_COLOR=1"}), green));
  CHECK_FALSE(contains(screen({"NO_COLOR=", "TERM=dumb"}), "\033"));
}

TEST_CASE("what files hold does not command the terminal") {
  Person person;
  std::ofstream(person.stories_.file("bad.json")) << R"([{"role": "user\u001b[31m\u009b", "content": "x"}])";
  const std::string screen = person.type("/load " + person.stories_.file("bad.json"));
  CHECK(contains(screen, R"(there is no role 'user\x1b[31m\x9b')"));
  CHECK_FALSE(contains(screen, "\033[31m"));
  std::ofstream(person.stories_.file("cache")) << std::string("\x40\0\0\0\0\0\0\0{\"\xff\033", 11);
  const Finished result =
      run_process(person.stories_.chat({"--prompt-cache", person.stories_.file("cache")}));
  CHECK(result.status == 1);
  CHECK_FALSE(contains(result.err, "\xff"));
  CHECK_FALSE(contains(result.err, "\033"));
}

TEST_CASE("colour ends with the prompt") {
  const std::string green = "\033[1;32m";
  const Stories stories;
  Terminal terminal(stories.chat({}), {"NO_COLOR="});
  terminal.wait_for(">");
  terminal.type("One.\\\r");
  terminal.wait_for("...");
  terminal.type("Two.\r");
  terminal.wait_for(">");
  terminal.type("/quit\r");
  CHECK(terminal.finish() == 0);
  const std::string& screen = terminal.screen();
  int prompts = 0;
  for (std::size_t at = screen.find(green); at != std::string::npos; at = screen.find(green, at + 1)) {
    const std::string rest = screen.substr(at + green.size());
    CAPTURE(rest);
    CHECK((rest.starts_with(">\033[0m ") || rest.starts_with("...\033[0m ")));
    ++prompts;
  }
  CHECK(prompts >= 3);
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
