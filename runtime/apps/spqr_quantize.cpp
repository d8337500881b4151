// spqr-quantize: a checkpoint into a .spqr file.
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "models/json.h"
#include "runtime/apps/session_options.h"
#include "runtime/export_model.h"
#include "runtime/import_model.h"
#include "runtime/progress.h"
#include "runtime/quantize_pipeline.h"
#include "runtime/synthetic.h"

namespace spqr {
namespace {

constexpr const char* kDescription =
    "Quantizes a checkpoint (Hugging Face directory, Meta's, GGUF, llama2.c) into one .spqr file, or takes "
    "over one\n"
    "that is SpQR already.\n"
    "Presets set bits, beta1, beta2 and target bits of SpQR together; single options override them.\n";

// Options that resolve_quantize_options() knows; those without a value are flags.
constexpr std::array kValueOptions{"scheme",
                                   "preset",
                                   "bits",
                                   "beta1",
                                   "beta2",
                                   "scale-bits",
                                   "zero-bits",
                                   "outlier-threshold",
                                   "target-bits",
                                   "permutation",
                                   "damp",
                                   "head-scheme",
                                   "embedding-scheme",
                                   "calibration",
                                   "documents",
                                   "calibration-samples",
                                   "calibration-length",
                                   "calibration-order",
                                   "seed"};
constexpr std::array kFlagOptions{"round-zero", "simplified-outliers", "true-sequential", "keep-sensitivity"};

// A bar that stays on the last line of a terminal; elsewhere a line per tenth.
class Terminal final : public QuantizeObserver {
 public:
  explicit Terminal(bool quiet) : terminal_(::isatty(STDERR_FILENO) != 0), quiet_(quiet) {}

  void warn(const std::string& text) override { print(fmt::format("spqr-quantize: warning: {}", text)); }
  void tell(const std::string& text) override {
    if (!quiet_) print(text);
  }
  void module(const ModuleReport& report) override {
    if (!quiet_) print(line_of(report));
  }
  bool cancelled() override { return interrupted(); }
  void progress(double done, double total, const std::string& what) override {
    progress_.update(done, total, Progress::Clock::now());
    if (quiet_) return;
    if (terminal_) {
      control_terminal(kClearLine);
      print_error(progress_.bar(what, 100));
      shown_ = true;
    } else if (const int tenth = static_cast<int>(progress_.share() * 10); tenth > tenth_) {
      tenth_ = tenth;
      print_error(fmt::format("{} %, {} left\n", 10 * tenth, format_duration(progress_.seconds_left())));
    }
  }
  void clear() {
    if (shown_) control_terminal(kClearLine);
    shown_ = false;
  }

 private:
  void print(const std::string& line) {
    clear();
    print_error(fmt::format("{}\n", line));
  }

  bool terminal_;
  bool quiet_;
  bool shown_ = false;
  int tenth_ = 0;
  Progress progress_{Progress::Clock::now()};
};

GivenOptions given_options(const cxxopts::ParseResult& options) {
  GivenOptions given;
  for (const char* name : kValueOptions) {
    if (options.count(name) > 0) given[name] = options[name].as<std::string>();
  }
  for (const char* name : kFlagOptions) {
    if (options.count(name) > 0) given[name] = "";
  }
  return given;
}

void print_summary(const QuantizeSummary& summary, bool json) {
  if (json) {
    print(fmt::format("{}\n", to_text(to_json(summary), 1)));
    return;
  }
  const auto& error = summary.average.relative_error;
  print_error(
      fmt::format("{:.3f} bits per weight ({:.3f} stored), {:.3f} % outliers, {}{:.1f} MB in {}\n",
                  summary.average.bits, summary.average.stored_bits, 100 * summary.average.outlier_share,
                  error ? fmt::format("mean relative error {:.3e}, ", *error) : std::string(),
                  1e-6 * static_cast<double>(summary.file_bytes), format_duration(summary.times.total)));
}

// MODEL OUT, or with --synthetic only OUT.
void read_paths(const cxxopts::ParseResult& options, const std::string& synthetic, QuantizeJob& job) {
  const std::size_t given = options.count("model") + options.count("out");
  if (synthetic.empty()) {
    if (given < 2) throw UsageError("MODEL and OUT are missing");
    job.model = options["model"].as<std::string>();
    job.out = options["out"].as<std::string>();
    return;
  }
  if (given != 1) throw UsageError("--synthetic takes OUT alone");
  for (const char* name :
       {"calibration", "documents", "tokenizer", "base", "outliers", "simplified-outliers", "damp",
        "round-zero", "true-sequential", "keep-sensitivity", "resume", "activations-on-disk"}) {
    if (options.count(name) > 0) throw UsageError(fmt::format("--{} cannot be used with --synthetic", name));
  }
  if (options.count("outlier-threshold") > 0 && std::isfinite(job.settings.options.outlier_threshold))
    throw UsageError(
        "--outlier-threshold cannot be used with --synthetic, unless it is inf: --target-bits "
        "says how many outliers there are");
  synthetic_config(synthetic);  // refuses a shape that there is not
  job.out = options[options.count("model") > 0 ? "model" : "out"].as<std::string>();
}

// A checkpoint that is SpQR already.
QuantizeSummary take_over(const cxxopts::ParseResult& options, const QuantizeJob& job, Terminal& terminal) {
  for (const char* name : {"resume", "activations-on-disk"}) {
    if (options.count(name) > 0)
      throw UsageError(
          fmt::format("--{} cannot be used: MODEL is SpQR already and is taken over as it is", name));
  }
  ImportJob import{job.model, job.out, {}, given_options(options)};
  import.options.checkpoint.tokenizer = job.tokenizer;
  import.options.base = options["base"].as<std::string>();
  if (const std::string rule = options["outliers"].as<std::string>(); rule == "add") {
    if (is_reference_directory(job.model))
      throw UsageError(
          "--outliers add is for packed checkpoints: the reference implementation's directories replace");
    import.options.outliers = OutlierRule::add;
  } else if (rule != "replace") {
    throw UsageError(fmt::format("--outliers is '{}', expected replace or add", rule));
  }
  return import_model(import, terminal);
}

QuantizeSummary summary_of(const cxxopts::ParseResult& options, const QuantizeJob& job,
                           const std::string& synthetic, Terminal& terminal) {
  if (!synthetic.empty()) return write_synthetic(synthetic, job, terminal);
  if (is_spqr_checkpoint(job.model)) return take_over(options, job, terminal);
  for (const char* name : {"base", "outliers"}) {
    if (options.count(name) > 0)
      throw UsageError(fmt::format("--{} is for checkpoints that are SpQR already", name));
  }
  return quantize_model(job, terminal);
}

// MODEL.spqr OUT
int export_directory(const cxxopts::ParseResult& options) {
  const std::string kind = options["export"].as<std::string>();
  if (kind != "hf-dense") throw UsageError(fmt::format("--export is '{}', expected hf-dense", kind));
  if (options.count("model") + options.count("out") < 2) throw UsageError("MODEL.spqr and OUT are missing");
  for (const cxxopts::KeyValue& given : options.arguments()) {
    if (given.key() != "export" && given.key() != "model" && given.key() != "out" && given.key() != "quiet")
      throw UsageError(fmt::format("--{} cannot be used with --export", given.key()));
  }
  for (const std::string& warning :
       export_hf_dense(options["model"].as<std::string>(), options["out"].as<std::string>()))
    print_error(fmt::format("spqr-quantize: warning: {}\n", warning));
  return kExitGood;
}

int write_file(const cxxopts::ParseResult& options) {
  QuantizeJob job;
  job.settings = resolve_quantize_options(given_options(options));
  job.tokenizer = options["tokenizer"].as<std::string>();
  job.threads = thread_count(options);
  job.activations_on_disk = options.count("activations-on-disk") > 0;
  job.resume = options.count("resume") > 0;
  const std::string synthetic = options["synthetic"].as<std::string>();
  read_paths(options, synthetic, job);
  Terminal terminal(options.count("quiet") > 0);
  install_interrupt_handler();
  try {
    const QuantizeSummary summary = summary_of(options, job, synthetic, terminal);
    terminal.clear();
    print_summary(summary, options.count("json") > 0);
  } catch (const QuantizeCancelled& cancelled) {
    terminal.clear();
    print_error(fmt::format("spqr-quantize: {}\n", cancelled.what()));
    return kExitInterrupted;
  } catch (...) {
    terminal.clear();
    throw;
  }
  return kExitGood;
}

int quantize(const cxxopts::ParseResult& options) {
  try {
    return options.count("export") > 0 ? export_directory(options) : write_file(options);
  } catch (const OptionsError& error) {
    throw UsageError(error.what());
  }
}

void add_options(cxxopts::Options& options) {
  const auto text = [] { return cxxopts::value<std::string>(); };
  options.positional_help(
      "MODEL OUT.spqr  |  --synthetic SHAPE OUT.spqr  |  --export hf-dense MODEL.spqr OUT");
  options.add_options()("model", "checkpoint", text())("out", "file to write", text());
  options.parse_positional({"model", "out"});
  options.add_options("What")                                                                           //
      ("scheme", "spqr (default), gptq, rtn, f16, bf16, f32", text(), "S")                              //
      ("preset", "near-lossless, 4bit, 3bit", text(), "P")                                              //
      ("bits", "of a weight code, 2..8", text(), "N")                                                   //
      ("beta1", "columns of a group: 8, 16, 32, 64, 128, row", text(), "N")                             //
      ("beta2", "rows of a second-level group: 8, 16, 32, 64", text(), "N")                             //
      ("scale-bits", "of a scale code, 2..8; 16: not quantized", text(), "N")                           //
      ("zero-bits", "of a zero code, 2..8; 16: not quantized", text(), "N")                             //
      ("round-zero", "zero points are integers")                                                        //
      ("outlier-threshold", "lower means more outliers; inf: none (default 0.2)", text(), "T")          //
      ("target-bits", "find the threshold that gives this many bits per weight", text(), "B")           //
      ("simplified-outliers", "no leave-one-out search")                                                //
      ("permutation", "act_order or identity", text(), "ORDER")                                         //
      ("damp", "added to the Hessian's diagonal, in units of its mean", text(), "D")                    //
      ("true-sequential", "calibrate each group of linears on those before it quantized")               //
      ("keep-sensitivity", "store which weights matter, for spqr-inspect --sensitivity")                //
      ("embedding-scheme", "f16 (default), f32, rtn8, rtn6, rtn5, rtn4, spqr", text(), "S")             //
      ("head-scheme", "likewise; a tied head follows the embedding unless this is given", text(), "S")  //
      ("synthetic",
       fmt::format("random weights instead of MODEL: {} or a config.json",
                   fmt::join(synthetic_shapes(), ", ")),
       text()->default_value(""), "SHAPE")("tokenizer", "of a model that has none, or in place of its own",
                                           text()->default_value(""), "FILE");
  options.add_options("Export")  //
      ("export", "hf-dense: a .spqr file as a Hugging Face directory of f16 weights", text(), "KIND");
  options.add_options("Checkpoints that are SpQR already")  //
      ("base", "model that the reference implementation quantized: config.json, tokenizer",
       text()->default_value(""), "DIR")  //
      ("outliers", "of a packed checkpoint: replace weights (default), or add as the official kernel does",
       text()->default_value("replace"), "RULE");
  options.add_options("Calibration")  //
      ("calibration", "text, .jsonl with \"text\", or token ids where there is no tokenizer", text(),
       "FILE")                                                                  //
      ("documents", "of a .jsonl file, from 1", text(), "A-B")                  //
      ("calibration-samples", "sequences (default 128)", text(), "N")           //
      ("calibration-length", "tokens of each (default 2048)", text(), "N")      //
      ("calibration-order", "sequential (default) or random", text(), "ORDER")  //
      ("seed", "of random order", text(), "N");
  options.add_options("How")                                                                     //
      ("t,threads", "0: one per core", cxxopts::value<std::int64_t>()->default_value("0"), "N")  //
      ("activations-on-disk", "keep hidden states in a file beside OUT")                         //
      ("resume", "go on after the last finished block of an interrupted run")                    //
      ("json", "summary as JSON on standard output")                                             //
      ("quiet", "no progress and no report per matrix");
}

}  // namespace
}  // namespace spqr

int main(int argc, char** argv) {
  cxxopts::Options options("spqr-quantize", spqr::kDescription);
  spqr::add_options(options);
  return spqr::run_tool(argc, argv, options, spqr::quantize);
}
