// spqr-eval: how many questions of multiple-choice tasks a model answers.
#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "models/json.h"
#include "models/output_file.h"
#include "runtime/apps/session_options.h"
#include "runtime/apps/value_list.h"
#include "runtime/eval.h"
#include "runtime/inspect.h"
#include "runtime/progress.h"
#include "runtime/stopwatch.h"

namespace {

using namespace spqr;

constexpr std::int64_t kLogitsTokens = 256;

std::string all_tasks() {
  std::string names;
  for (const std::string& name : task_names()) names.append(names.empty() ? "" : ",").append(name);
  return names;
}

void add_eval_options(cxxopts::Options& options) {
  options.add_options()("tasks", "some of these, with commas between",
                        cxxopts::value<std::string>()->default_value(all_tasks()))(
      "data", "directory with the tasks' files", cxxopts::value<std::string>()->default_value("."), "DIR")(
      "limit", "the first so many items of every task", cxxopts::value<std::int64_t>(), "N")(
      "log-samples", "write a JSON line for every item: task, index, loglikelihoods, choice, gold",
      cxxopts::value<std::string>(), "FILE")("json", "print one JSON object and nothing else");
}

std::vector<std::string> chosen_tasks(const cxxopts::ParseResult& parsed) {
  std::vector<std::string> names = text_list("tasks", parsed["tasks"].as<std::string>());
  for (auto name = names.begin(); name != names.end(); ++name) {
    if (std::ranges::find(task_names(), *name) == task_names().end())
      throw UsageError(fmt::format("there is no task '{}'; there are {}", *name, all_tasks()));
    if (std::find(names.begin(), name, *name) != name)
      throw UsageError(fmt::format("--tasks has {} twice", *name));
  }
  return names;
}

// A task, ready to be evaluated, and what came of it.
struct Evaluation {
  Task task;
  std::vector<EncodedItem> items;
  std::vector<std::vector<double>> loglikelihoods = {};
  TaskScore score = {};
  double seconds = 0;
};

// Reads and encodes before the model's memory is planned: the longest input decides the context.
std::vector<Evaluation> read_tasks(const cxxopts::ParseResult& parsed, SessionOptions& opening) {
  const std::int64_t limit = parsed.count("limit") > 0 ? positive(parsed, "limit") : 0;
  const SpqrFile file = SpqrFile::open(opening.model, {.mmap = true, .verify = false});
  const ModelConfig config = parse_config(file.info().config_json, opening.model.string());
  const std::unique_ptr<Tokenizer> tokenizer = load_tokenizer(file.info().tokenizer_files);
  if (tokenizer == nullptr) throw std::runtime_error("the model has no tokenizer, which tasks need");
  std::vector<Evaluation> evaluations;
  std::int64_t longest = 1;
  for (const std::string& name : chosen_tasks(parsed)) {
    Task task = load_task(name, parsed["data"].as<std::string>(), limit);
    std::vector<EncodedItem> items = encode_task(task, *tokenizer);
    longest = std::max(longest, longest_input(items));
    evaluations.push_back({std::move(task), std::move(items)});
  }
  // Room for a batch too, which is no larger than the context.
  if (opening.context == 0)
    opening.context = std::min(std::max(longest, opening.batch), config.max_position_embeddings);
  if (longest > std::min(opening.context, config.max_position_embeddings))
    print_error(fmt::format("warning: the longest input has {} tokens and loses its beginning\n", longest));
  return evaluations;
}

// Tells every tenth of a task.
class TaskProgress {
 public:
  TaskProgress(const std::string& name, std::size_t items)
      : name_(name), items_(static_cast<double>(items)) {}
  void operator()(std::int64_t done) {
    progress_.update(static_cast<double>(done), items_, Progress::Clock::now());
    const int tenth = static_cast<int>(progress_.share() * 10);
    if (tenth <= tenth_) return;
    tenth_ = tenth;
    print_error(
        fmt::format("{} {} %, {} left\n", name_, 10 * tenth, format_duration(progress_.seconds_left())));
  }

 private:
  std::string name_;
  double items_;
  Progress progress_{Progress::Clock::now()};
  int tenth_ = 0;
};

void evaluate(Session& session, Evaluation& of) {
  const Stopwatch watch(of.seconds);
  of.loglikelihoods =
      choice_loglikelihoods(session, of.items, TaskProgress(of.task.name, of.items.size()), interrupted);
  of.score = score_task(of.task, of.loglikelihoods);
}

void write_samples(const std::string& path, const std::vector<Evaluation>& evaluations) {
  std::string lines;
  for (const Evaluation& of : evaluations) {
    for (std::size_t i = 0; i < of.loglikelihoods.size(); ++i) {
      lines += to_text({{"task", of.task.name},
                        {"index", i},
                        {"loglikelihoods", of.loglikelihoods[i]},
                        {"choice", of.score.chosen[i]},
                        {"gold", of.task.items[i].gold}});
      lines += '\n';
    }
  }
  replace_file(path, [&](OutputFile& out) { out.write(0, lines); });
}

double mean_accuracy(const std::vector<Evaluation>& evaluations) {
  double sum = 0;
  for (const Evaluation& of : evaluations) sum += of.score.acc.value;
  return sum / static_cast<double>(evaluations.size());
}

void print_json(const Session& session, const std::vector<Evaluation>& evaluations) {
  nlohmann::json tasks = nlohmann::json::object();
  double seconds = 0;
  for (const Evaluation& of : evaluations) {
    nlohmann::json task = {{"items", of.score.items},
                           {"acc", of.score.acc.value},
                           {"acc_stderr", of.score.acc.error},
                           {"file", of.task.file.filename().string()},
                           {"seconds", of.seconds}};
    if (of.task.normalized) {
      task["acc_norm"] = of.score.acc_norm.value;
      task["acc_norm_stderr"] = of.score.acc_norm.error;
    }
    tasks[of.task.name] = task;
    seconds += of.seconds;
  }
  const PartSize blocks = inspect(session.file(), session.context()).blocks;
  print(fmt::format("{}\n", to_text({{"tasks", tasks},
                                     {"mean_acc", mean_accuracy(evaluations)},
                                     {"interrupted", interrupted()},
                                     {"seconds", seconds},
                                     {"backend", session.backend_name()},
                                     {"model", session.file().path().filename().string()},
                                     {"bits_per_weight", blocks.formula_bits_per_weight()},
                                     {"outlier_share", blocks.outlier_share()}})));
}

void print_text(const std::vector<Evaluation>& evaluations) {
  print(fmt::format("{:<14} {:>6}  {:<17}  {:<17}\n", "task", "items", "acc", "acc_norm"));
  for (const Evaluation& of : evaluations) {
    const auto share = [](const Accuracy& part) {
      return fmt::format("{:.4f} +- {:.4f}", part.value, part.error);
    };
    print(fmt::format("{:<14} {:>6}  {:<17}  {:<17}\n", of.task.name, of.score.items, share(of.score.acc),
                      of.task.normalized ? share(of.score.acc_norm) : "-"));
  }
  print(fmt::format("{:<14} {:>6}  {:.4f}{}\n", "mean", "", mean_accuracy(evaluations),
                    interrupted() ? ", interrupted" : ""));
}

int run(const cxxopts::ParseResult& parsed) {
  SessionOptions opening = session_options(parsed);
  const std::string samples = parsed.count("log-samples") > 0 ? parsed["log-samples"].as<std::string>() : "";
  if (!samples.empty()) require_replaceable(samples);
  install_interrupt_handler();
  warn_of_absent_gpu(opening);
  std::vector<Evaluation> evaluations = read_tasks(parsed, opening);
  opening.logits_tokens = kLogitsTokens;
  Session session(opening);
  for (const Evaluation& of : evaluations)
    print_error(fmt::format("{}: {} items of {}\n", of.task.name, of.items.size(), of.task.file.string()));
  for (Evaluation& of : evaluations) {
    if (!interrupted()) evaluate(session, of);
  }
  std::erase_if(evaluations, [](const Evaluation& of) { return of.score.items == 0; });
  if (evaluations.empty()) {
    print_error("spqr-eval: interrupted before the first item was evaluated\n");
  } else {
    if (!samples.empty()) write_samples(samples, evaluations);
    parsed.count("json") > 0 ? print_json(session, evaluations) : print_text(evaluations);
  }
  return !interrupted() ? kExitGood : terminated() != 0 ? terminated() : kExitInterrupted;
}

}  // namespace

int main(int argc, char** argv) {
  cxxopts::Options options("spqr-eval",
                           "Measures how many questions of multiple-choice tasks a model answers.");
  spqr::add_session_options(
      options, "tokens of an input; longer ones lose their beginning. 0: as many as the model was made for");
  add_eval_options(options);
  return spqr::run_tool(argc, argv, options, run);
}
