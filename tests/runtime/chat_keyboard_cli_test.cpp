// spqr-run's conversations at a pseudo-terminal: keys, signals, colour.
#include <doctest/doctest.h>
#include <termios.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "tests/runtime/chat_person.h"

namespace spqr {

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
  person.terminal_.wait_for("One ");  // it is drawn again
  person.terminal_.type("two three four five six seven.");
  person.terminal_.wait_for("seven.");
  person.terminal_.resize(40, 132);
  person.terminal_.wait_for("seven.");
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

TEST_CASE("two Ctrl-C at once leave, at the prompt and in an answer") {
  for (const bool answering : {false, true}) {
    CAPTURE(answering);
    Person person({"--ignore-eos", "--backend", "reference", "-n", "-1"});
    if (answering) {
      person.terminal_.type("One.\r");
      person.terminal_.wait_for("One.\r\n");
      person.terminal_.wait_for(" ");
      person.terminal_.type("typed ahead");
    }
    person.terminal_.type("\x03\x03");
    CHECK(person.terminal_.finish() == 130);
    CHECK_FALSE(contains(person.terminal_.screen(), "typed ahead"));
  }
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

}  // namespace spqr
