// spqr-inspect: what a .spqr file holds and what it takes to run it.
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "models/json.h"
#include "models/spqr_container.h"
#include "runtime/apps/command_line.h"
#include "runtime/apps/inspect_weights.h"
#include "runtime/apps/plan_options.h"
#include "runtime/apps/session_options.h"
#include "runtime/inspect.h"
#include "runtime/planned_weights.h"
#include "runtime/synthetic.h"
#include "runtime/tied_head.h"

namespace spqr {
namespace {

constexpr const char* kDescription =
    "Prints what a .spqr file holds: configuration, tokenizer, how it was quantized, bits per weight and "
    "outliers\n"
    "by part, and the memory it takes to run.\n";

// How a model is quantized that is planned for; and what else is for --plan only.
constexpr std::array kQuantizeOptions{"preset", "scheme", "embedding-scheme", "head-scheme"};
constexpr std::array kPlanOptions{"synthetic",     "preset",      "embedding-scheme", "head-scheme",
                                  "device-memory", "backend",     "gpu-layers",       "batch-size",
                                  "cache-type-k",  "cache-type-v"};

// Tensors that have a checksum: all but those that only fill up.
std::size_t checksums_of(const SpqrFile& file) {
  const auto& tensors = file.tensors();
  return static_cast<std::size_t>(std::count_if(tensors.begin(), tensors.end(), [](const auto& tensor) {
    return !tensor.name.starts_with(container::kPaddingPrefix);
  }));
}

// Of a .spqr file, or with --synthetic of one that is not there.
int run_plan(const cxxopts::ParseResult& options) {
  const SessionOptions asked = memory_options(options);
  if (options.count("synthetic") > 0) {
    if (options.count("model") > 0) throw UsageError("--synthetic and a file are both given");
    GivenOptions given;
    for (const char* name : kQuantizeOptions) {
      if (options.count(name) > 0) given[name] = options[name].as<std::string>();
    }
    try {
      QuantizeSettings settings = resolve_quantize_options(given);
      const auto shape = options["synthetic"].as<std::string>();
      ModelConfig config = parse_config(synthetic_config(shape), shape);
      settle_head(settings, config);
      return print_plan(options, asked, config, *planned_weights(config, settings), std::nullopt);
    } catch (const OptionsError& error) {
      throw UsageError(error.what());
    }
  }
  if (options.count("model") != 1) throw UsageError("--plan takes one file, or --synthetic SHAPE");
  for (const char* name : kQuantizeOptions) {
    if (options.count(name) > 0) throw UsageError(fmt::format("--{} is for --synthetic", name));
  }
  const SpqrFile file = SpqrFile::open(options["model"].as<std::string>(), {});
  const auto weights = make_weight_source(file);
  return print_plan(options, asked, parse_config(file.info().config_json, file.path().string()), *weights,
                    file.file_bytes());
}

int run_inspect(const cxxopts::ParseResult& options) {
  if (options.count("plan") > 0) return run_plan(options);
  for (const char* name : kPlanOptions) {
    if (options.count(name) > 0) throw UsageError(fmt::format("--{} is for --plan", name));
  }
  if (options.count("scheme") > 0 && options.count("sensitivity") == 0)
    throw UsageError("--scheme is for --plan and --sensitivity");
  if (options.count("model") == 0) throw UsageError("no file is given");
  if (options.count("model") > 1) throw UsageError("more than one file is given");
  if (const auto status = inspect_weights(options)) return *status;
  const auto context = options["ctx-size"].as<std::int64_t>();
  if (context < 0) throw UsageError("-c has to be 0 or more");
  const bool verify = options["verify"].as<bool>();
  const bool tensors = options["tensors"].as<bool>();
  const SpqrFile file = SpqrFile::open(options["model"].as<std::string>(), {.mmap = true, .verify = verify});
  const Inspection inspection = inspect(file, context);
  if (options["json"].as<bool>()) {
    nlohmann::json object = to_json(inspection, file, tensors);
    if (verify) object["verified_checksums"] = checksums_of(file);
    print(fmt::format("{}\n", to_text(object, 2)));
  } else {
    print_text(to_text(inspection, file, tensors));
    if (verify) print(fmt::format("\nall {} checksums are right\n", checksums_of(file)));
  }
  return kExitGood;
}

}  // namespace
}  // namespace spqr

int main(int argc, char** argv) {
  cxxopts::Options options("spqr-inspect", spqr::kDescription);
  options.add_options()                                                                             //
      ("m,model", ".spqr file", cxxopts::value<std::string>(), "FILE")                              //
      ("c,ctx-size", "tokens of context to plan memory for; 0: the model's maximum, at most 4096",  //
       cxxopts::value<std::int64_t>()->default_value("0"), "N")                                     //
      ("scheme",
       "with --plan: spqr (default), gptq, rtn, f16, bf16, f32; with --sensitivity: spqr or gptq, of the "
       "blocks "
       "before, and of the matrix",
       cxxopts::value<std::string>(), "S")              //
      ("verify", "check the checksum of every tensor")  //
      ("tensors", "list all tensors")                   //
      ("json", "print one JSON object");
  spqr::add_plan_options(options);
  const auto text = [](const char* standard = nullptr) {
    auto value = cxxopts::value<std::string>();
    return standard == nullptr ? value : value->default_value(standard);
  };
  options.add_options("Plan")                                                                               //
      ("synthetic", "no file: a model of this shape (of spqr-quantize) that is not made", text(), "SHAPE")  //
      ("preset", "of it: near-lossless, 4bit, 3bit", text(), "P")                                           //
      ("embedding-scheme", "of it, as of spqr-quantize", text(), "S")                                       //
      ("head-scheme", "of it, as of spqr-quantize", text(), "S")                                            //
      ("backend", "auto, cuda, cpu or reference", text("auto"))                                             //
      ("gpu-layers", "blocks on the GPU, from the last (-ngl); default: all",
       cxxopts::value<std::int64_t>())                                                                    //
      ("b,batch-size", "tokens evaluated at once", cxxopts::value<std::int64_t>()->default_value("512"))  //
      ("cache-type-k", "type of the cached keys (-ctk): f16, f32 or q8_0", text("f16"))                   //
      ("cache-type-v", "type of the cached values (-ctv), the same", text("f16"));
  spqr::add_weight_options(options);
  options.parse_positional({"model"});
  options.positional_help("FILE");
  return spqr::run_tool(argc, argv, options, spqr::run_inspect);
}
