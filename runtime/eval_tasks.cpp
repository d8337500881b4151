#include "runtime/eval_tasks.h"

#include <fmt/core.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <stdexcept>

#include "models/json.h"
#include "runtime/task_lines.h"
#include "tokenizer/utf8.h"

namespace spqr {
namespace {

using nlohmann::json;

TaskChoice choice(const std::string& context, const std::string& text) {
  return {context, " " + text, characters(text)};
}

// Texts that may follow one context.
TaskItem ranked(const std::string& context, const std::vector<std::string>& texts, std::int64_t gold) {
  TaskItem item{{}, gold};
  for (const std::string& text : texts) item.choices.push_back(choice(context, text));
  return item;
}

std::string question(const std::string& text) {
  return "Question: " + text + "\nAnswer:";
}

// One text after contexts that end with an option each: the harness's partial evaluation.
TaskItem winogrande(const TaskLine& line) {
  if (line.has("context_options")) {
    TaskItem item{{}, line.index("gold")};
    for (const std::string& context : line.texts("context_options"))
      item.choices.push_back(choice(context, line.text("continuation")));
    return item;
  }
  const std::string sentence = line.text("sentence");
  const std::size_t blank = sentence.find('_');
  if (blank == std::string::npos) line.fail("\"sentence\" has no \"_\" to put the options in");
  const std::string rest = stripped(std::string_view(sentence).substr(blank + 1));
  TaskItem item{{}, line.index("answer") - 1};
  for (const char* option : {"option1", "option2"})
    item.choices.push_back(choice(sentence.substr(0, blank) + line.text(option), rest));
  return item;
}

TaskItem piqa(const TaskLine& line, std::optional<std::int64_t> label) {
  const std::vector<std::string> solutions{line.text("sol1"), line.text("sol2")};
  return ranked(question(line.text("goal")), solutions, label ? *label : line.index("label"));
}

TaskItem hellaswag(const TaskLine& line) {
  std::vector<std::string> endings;
  for (const std::string& ending : line.texts("endings")) endings.push_back(without_marks(ending));
  const std::string context =
      line.text("activity_label") + ": " + line.text("ctx_a") + " " + capitalized(line.text("ctx_b"));
  return ranked(without_marks(context), endings, line.index("label"));
}

// A question whose choices carry letters, or numbers in some.
TaskItem labelled(const TaskLine& line, const std::string& text, const std::vector<std::string>& texts,
                  const std::vector<std::string>& labels) {
  const std::string key = line.text("answerKey");
  const auto found = std::ranges::find(labels, key);
  if (found == labels.end() || labels.size() != texts.size())
    line.fail(fmt::format("\"answerKey\" is \"{}\", which labels none of the {} choices", key, texts.size()));
  return ranked(question(text), texts, found - labels.begin());
}

TaskItem arc(const TaskLine& line) {
  if (line.has("query"))
    return ranked(line.text("query") + "\nAnswer:", line.texts("choices"), line.index("gold"));
  if (line.is_text("question")) {  // as Hugging Face's datasets are exported
    const TaskLine choices = line.object("choices");
    return labelled(line, line.text("question"), choices.texts("text"), choices.texts("label"));
  }
  const TaskLine asked = line.object("question");
  std::vector<std::string> texts;
  std::vector<std::string> labels;
  for (const TaskLine& of : asked.objects("choices")) {
    texts.push_back(of.text("text"));
    labels.push_back(of.text("label"));
  }
  return labelled(line, asked.text("stem"), texts, labels);
}

void check(const TaskItem& item, const std::string& where) {
  const auto count = static_cast<std::int64_t>(item.choices.size());
  if (count < 2) throw std::runtime_error(fmt::format("{}: {} choices, expected two or more", where, count));
  if (item.gold < 0 || item.gold >= count) {
    throw std::runtime_error(
        fmt::format("{}: the right choice is number {} of {}, counted from 0", where, item.gold, count));
  }
  for (const TaskChoice& of : item.choices) {
    if (of.characters == 0) throw std::runtime_error(fmt::format("{}: a choice is empty", where));
  }
}

using Items = std::vector<TaskItem>;

bool enough(const Items& items, std::int64_t limit) {
  return limit > 0 && static_cast<std::int64_t>(items.size()) >= limit;
}

Items json_items(const std::filesystem::path& file, std::int64_t limit,
                 const std::function<TaskItem(const TaskLine&)>& item_of) {
  Items items;
  for (const NumberedLine& of : numbered_lines(file)) {
    if (enough(items, limit)) break;
    const TaskLine line(of);
    items.push_back(item_of(line));
    check(items.back(), of.where);
  }
  return items;
}

// Labels stand in a file of their own, a number a line; without it, in the lines.
Items piqa_items(const std::filesystem::path& file, std::int64_t limit) {
  const std::filesystem::path path = file.parent_path() / (file.stem().string() + "-labels.lst");
  if (!std::filesystem::exists(path))
    return json_items(file, limit, [](const TaskLine& line) { return piqa(line, {}); });
  const std::vector<NumberedLine> labels = numbered_lines(path);
  std::size_t next = 0;
  return json_items(file, limit, [&](const TaskLine& line) {
    if (next == labels.size())
      line.fail(fmt::format("{} has labels of {} items only", path.string(), labels.size()));
    const NumberedLine& label = labels[next++];
    return piqa(line, number_in(label));
  });
}

// Six lines an item: context, number of the right ending, four endings; without marks already.
Items hellaswag_text_items(const std::filesystem::path& file, std::int64_t limit) {
  constexpr std::size_t kLines = 6;
  Items items;
  const std::vector<NumberedLine> lines = numbered_lines(file);
  for (std::size_t at = 0; at < lines.size() && !enough(items, limit); at += kLines) {
    if (lines.size() - at < kLines) {
      throw std::runtime_error(fmt::format("{}: the last item has {} lines, expected {}", lines[at].where,
                                           lines.size() - at, kLines));
    }
    std::vector<std::string> endings;
    for (std::size_t i = 2; i < kLines; ++i) endings.push_back(lines[at + i].text);
    items.push_back(ranked(lines[at].text, endings, number_in(lines[at + 1])));
    check(items.back(), lines[at].where);
  }
  return items;
}

Items hellaswag_items(const std::filesystem::path& file, std::int64_t limit) {
  return file.extension() == ".jsonl" ? json_items(file, limit, hellaswag)
                                      : hellaswag_text_items(file, limit);
}

struct TaskReader {
  const char* name;
  bool normalized;
  std::vector<std::string> folders;  // of `directory`, beside itself
  std::vector<std::string> files;
  std::function<Items(const std::filesystem::path& file, std::int64_t limit)> read;
};

const std::vector<TaskReader>& readers() {
  const auto lines = [](TaskItem (*item_of)(const TaskLine&)) {
    return [item_of](const std::filesystem::path& file, std::int64_t limit) {
      return json_items(file, limit, item_of);
    };
  };
  static const std::vector<TaskReader> all = {
      {"winogrande",
       false,
       {"winogrande", "winogrande_1.1"},
       {"winogrande_dev.jsonl", "winogrande.jsonl", "dev.jsonl"},
       lines(winogrande)},
      {"piqa",
       true,
       {"piqa", "physicaliqa-train-dev"},
       {"piqa_valid.jsonl", "piqa.jsonl", "valid.jsonl", "dev.jsonl"},
       piqa_items},
      {"hellaswag",
       true,
       {"hellaswag", "hellaswag/data"},
       {"hellaswag_val.jsonl", "hellaswag.jsonl", "hellaswag_val_full.txt", "hellaswag_val_full.txt.bz2"},
       hellaswag_items},
      {"arc_easy",
       true,
       {"arc", "arc_easy", "ARC-Easy", "ARC-V1-Feb2018-2/ARC-Easy"},
       {"ARC-Easy-Test.jsonl", "arc_easy_test.jsonl", "arc_easy.jsonl"},
       lines(arc)},
      {"arc_challenge",
       true,
       {"arc", "arc_challenge", "ARC-Challenge", "ARC-V1-Feb2018-2/ARC-Challenge"},
       {"ARC-Challenge-Test.jsonl", "arc_challenge_test.jsonl", "arc_challenge.jsonl"},
       lines(arc)}};
  return all;
}

const TaskReader& reader_of(const std::string& name) {
  for (const TaskReader& reader : readers()) {
    if (reader.name == name) return reader;
  }
  throw std::invalid_argument(fmt::format("there is no task '{}'", name));
}

// Folders of the task's own come first: in `directory` itself a name such as dev.jsonl could be any task's.
std::filesystem::path find_file(const TaskReader& reader, const std::filesystem::path& directory) {
  if (!std::filesystem::is_directory(directory))
    throw std::runtime_error(fmt::format("{}: is no directory with task files", directory.string()));
  std::vector<std::string> folders = reader.folders;
  folders.emplace_back();
  for (const std::string& folder : folders) {
    for (const std::string& file : reader.files) {
      const std::filesystem::path path = directory / folder / file;
      if (std::filesystem::is_regular_file(path)) return path;
    }
  }
  std::string names;
  for (const std::string& file : reader.files) names.append(names.empty() ? "" : ", ").append(file);
  throw std::runtime_error(fmt::format("{}: no file of the task {}: none of {}, there or in a folder {}/",
                                       directory.string(), reader.name, names, reader.folders.front()));
}

}  // namespace

const std::vector<std::string>& task_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> of;
    for (const TaskReader& reader : readers()) of.emplace_back(reader.name);
    return of;
  }();
  return names;
}

Task load_task(const std::string& name, const std::filesystem::path& directory, std::int64_t limit) {
  const TaskReader& reader = reader_of(name);
  Task task{name, find_file(reader, directory), reader.normalized, {}};
  task.items = reader.read(task.file, limit);
  if (task.items.empty()) throw std::runtime_error(fmt::format("{}: has no items", task.file.string()));
  return task;
}

std::string without_marks(std::string text) {
  text = replace_all(stripped(text), " [title]", ". ");
  std::string kept;
  for (std::size_t at = 0; at < text.size();) {
    // From a bracket to the next closing one of the same line.
    const std::size_t end = text[at] == '[' ? text.find_first_of("]\n", at) : std::string::npos;
    if (end != std::string::npos && text[end] == ']') {
      at = end + 1;
    } else {
      kept += text[at++];
    }
  }
  return replace_all(kept, "  ", " ");
}

}  // namespace spqr
