// Multiple-choice tasks of the SpQR paper's evaluation, read from the files they are published in. Prompts
// are those of the LM Evaluation Harness.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace spqr {

// A text whose likelihood after another one is asked for.
struct TaskChoice {
  std::string context;
  std::string continuation;
  std::int64_t characters = 0;  // of the choice as the file has it: what acc_norm divides by
};

struct TaskItem {
  std::vector<TaskChoice> choices;
  std::int64_t gold = 0;  // the right one
};

struct Task {
  std::string name;
  std::filesystem::path file;
  // Choices are different texts after one context, so that acc_norm means something. WinoGrande's are one
  // text after different contexts.
  bool normalized = true;
  std::vector<TaskItem> items;
};

// Names that load_task() takes.
const std::vector<std::string>& task_names();

// The first `limit` items (0: all) of a task, of whichever of its files `directory` has, itself or in a
// folder as the task's publisher or the README's table names it:
//   winogrande   .jsonl with `sentence` (a "_" where options go), or `context_options` and `continuation`
//   piqa         .jsonl with `goal`, `sol1`, `sol2`, and the labels beside it
//   hellaswag    .jsonl with `ctx_a`, `ctx_b`, `endings`; or text of six lines an item, also as .bz2
//   arc_easy, arc_challenge   .jsonl with `question` and `answerKey`, or `query` and `gold`
// Throws std::runtime_error: which files were looked for, or which line of which file is wrong and why.
Task load_task(const std::string& name, const std::filesystem::path& directory, std::int64_t limit);

// A HellaSwag text without the marks that WikiHow has left in it.
std::string without_marks(std::string text);

}  // namespace spqr
