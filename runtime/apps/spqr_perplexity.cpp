// spqr-perplexity: how well a model predicts a text.
#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "models/json.h"
#include "runtime/apps/kl_report.h"
#include "runtime/apps/session_options.h"
#include "runtime/datasets.h"
#include "runtime/inspect.h"
#include "runtime/kl_divergence.h"
#include "runtime/log_probability_file.h"
#include "runtime/memory_plan.h"
#include "runtime/perplexity.h"
#include "runtime/stopwatch.h"

namespace {

using namespace spqr;

constexpr std::int64_t kLogitsTokens = 256;
constexpr std::int64_t kDefaultWindow = 2048;

void add_perplexity_options(cxxopts::Options& options) {
  options.add_options()("dataset", "how the file is read: wikitext2, ptb, ptb-new, c4, c4-new or text",
                        cxxopts::value<std::string>()->default_value("text"))("f,file", "the text",
                                                                              cxxopts::value<std::string>())(
      "documents", "A-B: documents of a .jsonl file, counted from 1", cxxopts::value<std::string>())(
      "windows", "evaluate at most this many windows", cxxopts::value<std::int64_t>())(
      "tokens", "a file of token ids instead of a text: one window", cxxopts::value<std::string>())(
      "kl-divergence-base", "write the model's log-probabilities here, for other models to be compared with",
      cxxopts::value<std::string>())("kl-divergence",
                                     "compare with the log-probabilities in that file instead; its text, "
                                     "unless -f gives the same")("json",
                                                                 "print one JSON object and nothing else");
}

DatasetOptions dataset_options(const cxxopts::ParseResult& parsed) {
  DatasetOptions options;
  options.name = parsed["dataset"].as<std::string>();
  const auto& names = dataset_names();
  if (std::find(names.begin(), names.end(), options.name) == names.end()) {
    throw UsageError(fmt::format(
        "there is no dataset '{}'; there are wikitext2, ptb, ptb-new, c4, c4-new and text", options.name));
  }
  if (parsed.count("file") == 0)
    throw UsageError("no text; give one with -f FILE (or ids with --tokens FILE)");
  options.file = parsed["file"].as<std::string>();
  if (parsed.count("documents") > 0) {
    if (!options.name.starts_with("c4")) throw UsageError("--documents is for the datasets c4 and c4-new");
    try {
      options.documents = parse_document_range(parsed["documents"].as<std::string>());
    } catch (const std::invalid_argument& error) {
      throw UsageError(error.what());
    }
  }
  if (parsed.count("windows") > 0) options.windows = positive(parsed, "windows");
  return options;
}

struct Input {
  std::string dataset;
  TokenWindows text;

  std::int64_t window() const { return static_cast<std::int64_t>(text.windows.front().size()); }
};

// Reads and tokenizes before the model's memory is planned: the window decides the context.
Input read_input(const cxxopts::ParseResult& parsed, const SessionOptions& opening, const SpqrFile& file,
                 const ModelConfig& config) {
  if (parsed.count("tokens") > 0) {
    const auto path = parsed["tokens"].as<std::string>();
    Input input{"tokens", {{parse_token_ids(read_text(path), config.vocab_size, path)}, 0}};
    input.text.tokens = static_cast<std::int64_t>(input.text.windows[0].size());
    if (input.text.tokens < 2)
      throw std::runtime_error(fmt::format("{}: {} tokens, expected two or more", path, input.text.tokens));
    if (input.text.tokens > config.max_position_embeddings) {
      throw std::runtime_error(fmt::format("{}: {} tokens, the model was made for {}", path,
                                           input.text.tokens, config.max_position_embeddings));
    }
    return input;
  }
  DatasetOptions options = dataset_options(parsed);
  options.window =
      std::min(opening.context > 0 ? opening.context : kDefaultWindow, config.max_position_embeddings);
  if (opening.context > options.window)
    print_error(fmt::format("warning: -c {} is more than the model was made for; windows have {} tokens\n",
                            opening.context, options.window));
  if (options.window < 2) throw UsageError("-c is 1, expected windows of two tokens or more");
  const std::unique_ptr<Tokenizer> tokenizer = load_tokenizer(file.info().tokenizer_files);
  if (tokenizer == nullptr)
    throw std::runtime_error("the model has no tokenizer; give token ids with --tokens FILE");
  return {options.name, load_windows(options, *tokenizer)};
}

// The windows of another model's file, or what the user gave if that is the same.
Input read_base_input(const cxxopts::ParseResult& parsed, SessionOptions opening, const SpqrFile& file,
                      const ModelConfig& config, const LogProbabilityFile& base) {
  if (base.window() > config.max_position_embeddings) {
    throw std::runtime_error(fmt::format("{}: has windows of {} tokens, the model was made for {}",
                                         base.path().string(), base.window(),
                                         config.max_position_embeddings));
  }
  Input input{base.path().filename().string(), {base.windows(), 0}};
  if (parsed.count("file") > 0 || parsed.count("tokens") > 0) {
    if (opening.context == 0) opening.context = base.window();
    input = read_input(parsed, opening, file, config);
  } else {
    for (const char* other : {"dataset", "documents", "ctx-size"}) {
      if (parsed.count(other) > 0)
        throw UsageError(
            fmt::format("--{} goes with -f; without it the text is that of {}", other, base.path().string()));
    }
    const auto count = static_cast<std::int64_t>(input.text.windows.size());
    input.text.tokens = count * base.window();
    if (parsed.count("windows") > 0)
      input.text.windows.resize(static_cast<std::size_t>(std::min(count, positive(parsed, "windows"))));
  }
  base.require(config.vocab_size, input.text.windows);
  return input;
}

// Of all windows; an evaluation that is interrupted leaves no file.
Perplexity write_base(const std::string& path, Session& session, const Input& input,
                      const PerplexityProgress& progress) {
  const std::int64_t vocab = session.config().vocab_size;
  print_error(fmt::format("log-probabilities of {} tokens take {}\n",
                          static_cast<std::int64_t>(input.text.windows.size()) * (input.window() - 1),
                          human_bytes(LogProbabilityWriter::bytes(vocab, input.text.windows))));
  Perplexity result;
  try {
    replace_file(path, [&](OutputFile& out) {
      LogProbabilityWriter writer(out, vocab, input.text.windows);
      const auto write = [&](std::size_t window, std::int64_t first, Matrix logits) {
        writer.write(window, first, logits);
      };
      result = evaluate_perplexity(session, input.text.windows, progress, interrupted, write);
      if (result.interrupted) throw Interrupted();
    });
  } catch (const Interrupted&) {
    print_error(fmt::format("{} was not written: interrupted\n", path));
  }
  return result;
}

nlohmann::json result_object(const Session& session, const Input& input, const Perplexity& result,
                             double seconds) {
  const std::int64_t window = input.window();
  const PartSize blocks = inspect(session.file(), window).blocks;
  return {{"perplexity", result.perplexity},
          {"standard_error", result.standard_error},
          {"windows", result.windows},
          {"interrupted", result.interrupted},
          {"tokens", result.windows * window},
          {"predicted_tokens", result.predicted_tokens},
          {"text_tokens", input.text.tokens},
          {"seconds", seconds},
          {"dataset", input.dataset},
          {"context", window},
          {"backend", session.backend_name()},
          {"model", session.file().path().filename().string()},
          {"bits_per_weight", blocks.formula_bits_per_weight()},
          {"outlier_share", blocks.outlier_share()}};
}

void print_text(const Input& input, const Perplexity& result, double seconds) {
  const std::string windows = result.interrupted
                                  ? fmt::format("{} of {}", result.windows, input.text.windows.size())
                                  : fmt::format("{}", result.windows);
  print(fmt::format("perplexity {:.4f} +- {:.4f} over {} windows of {} tokens{}, {:.1f} s\n",
                    result.perplexity, result.standard_error, windows, input.window(),
                    result.interrupted ? ", interrupted" : "", seconds));
}

void print_result(const Session& session, const Input& input, const Perplexity& result, double seconds,
                  const KlComparison* comparison, bool json) {
  if (json) {
    nlohmann::json object = result_object(session, input, result, seconds);
    if (comparison != nullptr) object.update(report_members(comparison->result(result.windows)));
    print(fmt::format("{}\n", to_text(object)));
  } else {
    print_text(input, result, seconds);
    if (comparison != nullptr) print_report(comparison->result(result.windows));
  }
}

// What --kl-divergence-base and --kl-divergence ask for.
struct BaseFile {
  std::string path;      // empty: nothing
  bool compare = false;  // read it; otherwise write it
};

BaseFile base_file(const cxxopts::ParseResult& parsed) {
  BaseFile file;
  if (parsed.count("kl-divergence-base") > 0) file.path = parsed["kl-divergence-base"].as<std::string>();
  file.compare = parsed.count("kl-divergence") > 0;
  if (file.compare && file.path.empty())
    throw UsageError("--kl-divergence compares with a file; name it with --kl-divergence-base FILE");
  if (!file.compare && !file.path.empty()) require_replaceable(file.path);
  return file;
}

Input read_any_input(const cxxopts::ParseResult& parsed, const SessionOptions& opening,
                     const LogProbabilityFile* base) {
  const SpqrFile file = SpqrFile::open(opening.model, {.mmap = true, .verify = false});
  const ModelConfig config = parse_config(file.info().config_json, opening.model.string());
  return base != nullptr ? read_base_input(parsed, opening, file, config, *base)
                         : read_input(parsed, opening, file, config);
}

int run(const cxxopts::ParseResult& parsed) {
  SessionOptions opening = session_options(parsed);
  const bool json = parsed.count("json") > 0;
  if (parsed.count("tokens") > 0) {
    for (const char* other : {"file", "dataset", "documents", "windows", "ctx-size"}) {
      if (parsed.count(other) > 0)
        throw UsageError(fmt::format("--tokens is one window and goes without --{}", other));
    }
  }
  const BaseFile base = base_file(parsed);
  install_interrupt_handler();
  warn_of_absent_gpu(opening);
  std::optional<LogProbabilityFile> compared;
  if (base.compare) compared.emplace(base.path);
  const Input input = read_any_input(parsed, opening, compared ? &*compared : nullptr);
  const std::int64_t window = input.window();
  opening.context = window;
  if (parsed.count("batch-size") == 0) opening.batch = std::min<std::int64_t>(window, 2048);
  opening.logits_tokens = std::min(kLogitsTokens, window);
  Session session(opening);
  print_error(fmt::format("backend {}, {} tokens of {}, {} windows of {}\n", session.backend_name(),
                          input.text.tokens, input.dataset, input.text.windows.size(), window));

  const auto progress = [&](std::int64_t done, double perplexity) {
    if (json) return;
    print(fmt::format("[{}] {:.4f}\n", done, perplexity));
  };
  std::optional<KlComparison> comparison;
  PredictionVisit visit;
  if (compared) {
    comparison.emplace(*compared);
    visit = [&](std::size_t index, std::int64_t first, Matrix logits) {
      comparison->add(index, first, logits);
    };
  }
  Perplexity result;
  double seconds = 0;
  {
    const Stopwatch watch(seconds);
    result = !compared && !base.path.empty()
                 ? write_base(base.path, session, input, progress)
                 : evaluate_perplexity(session, input.text.windows, progress, interrupted, visit);
  }
  const int status = !result.interrupted ? kExitGood : terminated() != 0 ? terminated() : kExitInterrupted;
  if (result.windows == 0) {
    print_error("spqr-perplexity: interrupted before the first window was evaluated\n");
    return status;
  }
  print_result(session, input, result, seconds, comparison ? &*comparison : nullptr, json);
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  cxxopts::Options options("spqr-perplexity", "Measures how well a model predicts a text.");
  spqr::add_session_options(options,
                            "tokens of a window; 0: 2048, or the model's maximum where that is less");
  add_perplexity_options(options);
  return spqr::run_tool(argc, argv, options, run);
}
