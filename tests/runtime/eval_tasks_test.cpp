// Files of every task, as their publishers have them and as other tools do: items of our own, and mistakes.
#include "runtime/eval_tasks.h"

#include <doctest/doctest.h>

#include <stdexcept>

#include "runtime/task_lines.h"
#include "tests/models/files.h"

namespace spqr {
namespace {

std::filesystem::path fixtures(const std::string& form) {
  return std::filesystem::path(SPQR_FIXTURES) / "tasks" / form;
}

struct Expected {
  std::string context, continuation;
  std::int64_t characters;
};

void check_item(const TaskItem& item, std::int64_t gold, const std::vector<Expected>& expected) {
  CHECK(item.gold == gold);
  REQUIRE(item.choices.size() == expected.size());
  for (std::size_t c = 0; c < expected.size(); ++c) {
    CHECK(item.choices[c].context == expected[c].context);
    CHECK(item.choices[c].continuation == expected[c].continuation);
    CHECK(item.choices[c].characters == expected[c].characters);
  }
}

// What load_task() says of a file with these lines.
std::string refusal(const std::string& task, const std::string& name, const std::string& lines) {
  const TemporaryDirectory directory;
  directory.write(name, lines);
  std::string message = message_of([&] { load_task(task, directory.path(), 0); });
  const std::string folder = directory.path().string() + "/";
  for (std::size_t at = message.find(folder); at != std::string::npos; at = message.find(folder))
    message.erase(at, folder.size());
  return message;
}

}  // namespace

TEST_CASE("winogrande: the text behind the blank, after each option") {
  for (const std::string form : {"official", "foundry"}) {
    CAPTURE(form);
    const Task task = load_task("winogrande", fixtures(form), 0);
    CHECK_FALSE(task.normalized);
    REQUIRE(task.items.size() == 2);
    check_item(task.items[0], 1,
               {{"The mug did not fit into the box because the mug", " was too small.", 14},
                {"The mug did not fit into the box because the box", " was too small.", 14}});
    check_item(task.items[1], 0,
               {{"Ada asked Grace for help, and Ada", " thanked her.", 12},
                {"Ada asked Grace for help, and Grace", " thanked her.", 12}});
  }
}

TEST_CASE("piqa: labels beside the questions") {
  const Task task = load_task("piqa", fixtures("official"), 0);
  CHECK(task.normalized);
  REQUIRE(task.items.size() == 2);
  const std::string context = "Question: How do I keep bread fresh?\nAnswer:";
  check_item(task.items[0], 0,
             {{context, " Wrap it in a cloth.", 19}, {context, " Wrap it in a wet cloth.", 23}});
  CHECK(task.items[1].gold == 1);
  CHECK(load_task("piqa", fixtures("official"), 1).items.size() == 1);
  CHECK(load_task("piqa", fixtures("official"), 7).items.size() == 2);
  // Characters are Unicode's, not bytes.
  CHECK(task.items[1].choices[1].continuation == " caf\u00e9");
  CHECK(task.items[1].choices[1].characters == 4);
}

TEST_CASE("hellaswag: the harness's clean-up of jsonl, and text that has been through it") {
  const std::string context = "Baking bread: A man kneads dough. He";
  for (const std::string form : {"official", "text", "packed"}) {
    CAPTURE(form);
    const Task task = load_task("hellaswag", fixtures(form), 0);
    REQUIRE(task.items.size() == 2);
    check_item(task.items[0], 2,
               {{context, " flies away.", 11},
                {context, " sings to it.", 12},
                {context, " puts it into the oven.", 22},
                {context, " paints the wall.", 16}});
    CHECK(task.items[1].choices[0].context == "Finance and Business: How to save. Start early.");
    CHECK(task.items[1].choices[0].continuation == " Keep a list. Write down what you spend.");
    CHECK(task.items[1].gold == 0);
  }
}

TEST_CASE("hellaswag: marks and capitals as Python takes them") {
  CHECK(without_marks("  a [title] b  c [step] d [x") == "a. b c d [x");
  CHECK(without_marks("[header] a [substeps]   b") == " a  b");
  CHECK(without_marks("a [b\nc] d") == "a [b\nc] d");
  CHECK(without_marks("\u00a0a\u3000") == "a");
  CHECK(capitalized("the Lady FROM Rome") == "The lady from rome");
  CHECK(capitalized("\u00e9T\u00c9") == "\u00c9t\u00e9");
  CHECK(capitalized("").empty());
}

TEST_CASE("arc: letters and numbers label choices") {
  for (const std::string form : {"official", "exported", "foundry"}) {
    CAPTURE(form);
    const Task easy = load_task("arc_easy", fixtures(form), 0);
    REQUIRE(easy.items.size() == 2);
    const std::string context = "Question: What melts ice?\nAnswer:";
    check_item(easy.items[0], 1, {{context, " cold", 4}, {context, " heat", 4}, {context, " noise", 5}});
    CHECK(easy.items[1].gold == 3);
    CHECK(easy.items[1].choices.size() == 4);
    const Task hard = load_task("arc_challenge", fixtures(form), 0);
    REQUIRE(hard.items.size() == 1);
    CHECK(hard.items[0].gold == 0);
  }
}

TEST_CASE("what is wrong with a task's file is told with its line") {
  const std::string good = R"({"goal": "g", "sol1": "a", "sol2": "b", "label": 1})";
  CHECK(refusal("piqa", "valid.jsonl", good + "\n{\"goal\": \"g\"}\n") == "valid.jsonl:2: has no \"sol1\"");
  CHECK(contains(refusal("piqa", "valid.jsonl", good + "\n{\n"), "valid.jsonl:2: not valid JSON"));
  CHECK(contains(refusal("piqa", "valid.jsonl", good + "\n\n" + good), "valid.jsonl:2: not valid JSON"));
  CHECK(refusal("piqa", "valid.jsonl", "[1]") == "valid.jsonl:1: is no JSON object");
  CHECK(refusal("piqa", "valid.jsonl", R"({"goal": "g", "sol1": 1, "sol2": "b", "label": 1})") ==
        "valid.jsonl:1: \"sol1\" is no string");
  CHECK(refusal("piqa", "valid.jsonl", R"({"goal": "g", "sol1": "a", "sol2": "b", "label": 2})") ==
        "valid.jsonl:1: the right choice is number 2 of 2, counted from 0");
  CHECK(refusal("piqa", "valid.jsonl", R"({"goal": "g", "sol1": "a", "sol2": "b", "label": "x"})") ==
        "valid.jsonl:1: \"label\" is 'x', expected a whole number");
  CHECK(refusal("piqa", "valid.jsonl", R"({"goal": "g", "sol1": "", "sol2": "b", "label": 1})") ==
        "valid.jsonl:1: a choice is empty");
  CHECK(refusal("piqa", "valid.jsonl", "\n\n") == "valid.jsonl: has no items");
  CHECK(refusal("winogrande", "dev.jsonl",
                R"({"sentence": "no blank", "option1": "a", "option2": "b", "answer": "1"})") ==
        "dev.jsonl:1: \"sentence\" has no \"_\" to put the options in");
  CHECK(refusal("winogrande", "dev.jsonl",
                R"({"sentence": "a _ b", "option1": "a", "option2": "b", "answer": ""})") ==
        "dev.jsonl:1: \"answer\" is '', expected a whole number");
  CHECK(
      refusal("arc_easy", "arc_easy.jsonl",
              R"({"question": {"stem": "s", "choices": [{"text": "a", "label": "A"}]}, "answerKey": "B"})") ==
      "arc_easy.jsonl:1: \"answerKey\" is \"B\", which labels none of the 1 choices");
  CHECK(refusal("arc_easy", "arc_easy.jsonl", R"({"query": "q", "choices": ["a"], "gold": 0})") ==
        "arc_easy.jsonl:1: 1 choices, expected two or more");
  CHECK(refusal("arc_easy", "arc_easy.jsonl", R"({"query": "q", "choices": [1], "gold": 0})") ==
        "arc_easy.jsonl:1: \"choices\" is no list of strings");
  CHECK(refusal("hellaswag", "hellaswag_val_full.txt", "context\n0\na\nb\nc\nd\nnext\n1\na\n") ==
        "hellaswag_val_full.txt:7: the last item has 3 lines, expected 6");
  CHECK(refusal("hellaswag", "hellaswag_val_full.txt", "context\nzero\na\nb\nc\nd\n") ==
        "hellaswag_val_full.txt:2: the label is 'zero', expected a whole number");
}

TEST_CASE("labels of another number of items, packed files that are cut short, and no files at all") {
  const TemporaryDirectory directory;
  const std::string line = R"({"goal": "g", "sol1": "a", "sol2": "b"})";
  directory.write("valid.jsonl", line + "\n" + line + "\n");
  directory.write("valid-labels.lst", "1\n");
  CHECK(contains(message_of([&] { load_task("piqa", directory.path(), 0); }), "labels of 1 items only"));
  CHECK(load_task("piqa", directory.path(), 1).items[0].gold == 1);

  const std::string packed = read_bytes(fixtures("packed") / "hellaswag_val_full.txt.bz2");
  REQUIRE(packed.size() > 100);
  directory.write("hellaswag_val_full.txt.bz2", packed.substr(0, packed.size() / 2));
  CHECK(contains(message_of([&] { load_task("hellaswag", directory.path(), 0); }), "cannot be unpacked"));
  directory.write("hellaswag_val_full.txt.bz2", packed + packed);
  CHECK(load_task("hellaswag", directory.path(), 0).items.size() == 4);

  const std::string missing = message_of([&] { load_task("arc_easy", directory.path(), 0); });
  CHECK(contains(missing, "no file of the task arc_easy"));
  CHECK(contains(missing, "ARC-Easy-Test.jsonl"));
  CHECK(contains(message_of([&] { load_task("piqa", directory.path() / "none", 0); }), "is no directory"));
  CHECK_THROWS_AS(load_task("boolq", directory.path(), 0), std::invalid_argument);
}

}  // namespace spqr
