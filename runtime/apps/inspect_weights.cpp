#include "runtime/apps/inspect_weights.h"

#include <fmt/core.h>

#include <array>
#include <nlohmann/json.hpp>
#include <string_view>

#include "models/json.h"
#include "runtime/apps/session_options.h"
#include "runtime/outlier_spread.h"
#include "runtime/quantize_pipeline.h"
#include "runtime/sensitivity_run.h"

namespace spqr {
namespace {

// What quantizing takes here: SpQR of 3 bits in groups of 16 x 16 unless these say otherwise.
constexpr std::array kQuantizing{"calibration",        "documents", "calibration-samples",
                                 "calibration-length", "scheme",    "bits",
                                 "outlier-threshold",  "damp",      "permutation"};

// Names with and without ".weight" mean the same.
std::string module_name(const cxxopts::ParseResult& options) {
  const auto name = options["sensitivity"].as<std::string>();
  constexpr std::string_view kEnd = ".weight";
  return name.ends_with(kEnd) ? name.substr(0, name.size() - kEnd.size()) : name;
}

MeasuredSensitivity from_checkpoint(const cxxopts::ParseResult& options, const std::string& model) {
  GivenOptions given;
  for (const char* name : kQuantizing) {
    if (options.count(name) > 0) given[name] = options[name].as<std::string>();
  }
  SensitivityJob job{.model = model,
                     .tokenizer = options["tokenizer"].as<std::string>(),
                     .module = module_name(options),
                     .settings = {},
                     .threads = thread_count(options)};
  try {
    job.settings = resolve_quantize_options(given);
  } catch (const OptionsError& error) {
    throw UsageError(error.what());
  }
  if (!needs_calibration(job.settings.scheme)) throw UsageError("--scheme has to be spqr or gptq here");
  install_interrupt_handler();
  return measure_sensitivity(
      job, [](const std::string& text) { print_error(fmt::format("spqr-inspect: {}\n", text)); },
      interrupted);
}

MeasuredSensitivity from_file(const cxxopts::ParseResult& options, const std::string& model) {
  for (const char* name : kQuantizing) {
    if (options.count(name) > 0)
      throw UsageError(fmt::format("--{} goes with --calibration and a checkpoint", name));
  }
  const SpqrFile file = SpqrFile::open(model, {.mmap = true, .verify = options["verify"].as<bool>()});
  return {parse_config(file.info().config_json, model + ": config"),
          read_sensitivity(file, module_name(options))};
}

void print_sensitivity(const cxxopts::ParseResult& options, const std::string& model) {
  const MeasuredSensitivity found =
      options.count("calibration") > 0 ? from_checkpoint(options, model) : from_file(options, model);
  const std::string module = module_name(options);
  if (options["json"].as<bool>()) {
    print(fmt::format("{}\n", to_text(to_json(found.map, module, found.config))));
  } else {
    print_text(to_text(found.map, module, found.config));
  }
}

void print_outliers(const cxxopts::ParseResult& options, const std::string& model) {
  const SpqrFile file = SpqrFile::open(model, {.mmap = true, .verify = options["verify"].as<bool>()});
  const std::vector<OutlierSpread> spreads = outlier_spread(file);
  if (options["json"].as<bool>()) {
    print(fmt::format("{}\n", to_text(to_json(spreads), 1)));
  } else {
    print_text(to_text(spreads));
  }
}

}  // namespace

void add_weight_options(cxxopts::Options& options) {
  const auto text = [] { return cxxopts::value<std::string>(); };
  options.add_options("Single weights")  //
      ("sensitivity",
       "how the sensitive weights of a matrix are spread (a file made with --keep-sensitivity, or a "
       "checkpoint "
       "and --calibration)",
       text(), "TENSOR")                                                                              //
      ("outliers", "how the outliers of every packed matrix are spread over rows and columns")        //
      ("calibration", "with a checkpoint: text, .jsonl with \"text\", or token ids", text(), "FILE")  //
      ("documents", "of a .jsonl file, from 1", text(), "A-B")                                        //
      ("calibration-samples", "sequences (default 128)", text(), "N")                                 //
      ("calibration-length", "tokens of each (default 2048)", text(), "N")                            //
      ("tokenizer", "of a checkpoint that has none, or in place of its own", text()->default_value(""),
       "FILE")                                                                                    //
      ("bits", "of a weight code, 2..8 (default 3)", text(), "N")                                 //
      ("outlier-threshold", "of the blocks before (default 0.2)", text(), "T")                    //
      ("damp", "added to the Hessian's diagonal, in units of its mean (default 1)", text(), "D")  //
      ("permutation", "act_order (default) or identity", text(), "ORDER")                         //
      ("t,threads", "0: one per core", cxxopts::value<std::int64_t>()->default_value("0"), "N");
}

std::optional<int> inspect_weights(const cxxopts::ParseResult& options) {
  const bool sensitivity = options.count("sensitivity") > 0;
  const bool outliers = options.count("outliers") > 0;
  if (!sensitivity && !outliers) {
    if (options.count("calibration") > 0) throw UsageError("--calibration goes with --sensitivity TENSOR");
    return std::nullopt;
  }
  if (sensitivity && outliers) throw UsageError("--sensitivity and --outliers are asked one at a time");
  const auto model = options["model"].as<std::string>();
  try {
    outliers ? print_outliers(options, model) : print_sensitivity(options, model);
  } catch (const QuantizeCancelled& cancelled) {
    print_error(fmt::format("spqr-inspect: {}\n", cancelled.what()));
    return kExitInterrupted;
  }
  return kExitGood;
}

}  // namespace spqr
