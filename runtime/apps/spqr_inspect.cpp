// spqr-inspect: what a .spqr file holds and what it takes to run it.
#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "models/json.h"
#include "models/spqr_container.h"
#include "runtime/apps/command_line.h"
#include "runtime/inspect.h"

namespace spqr {
namespace {

constexpr const char* kDescription =
    "Prints what a .spqr file holds: configuration, tokenizer, how it was quantized, bits per weight and "
    "outliers\n"
    "by part, and the memory it takes to run.\n";

// Tensors that have a checksum: all but those that only fill up.
std::size_t checksums_of(const SpqrFile& file) {
  const auto& tensors = file.tensors();
  return static_cast<std::size_t>(std::count_if(tensors.begin(), tensors.end(), [](const auto& tensor) {
    return !tensor.name.starts_with(container::kPaddingPrefix);
  }));
}

int run_inspect(const cxxopts::ParseResult& options) {
  if (options.count("model") == 0) throw UsageError("no file is given");
  if (options.count("model") > 1) throw UsageError("more than one file is given");
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
      ("verify", "check the checksum of every tensor")                                              //
      ("tensors", "list all tensors")                                                               //
      ("json", "print one JSON object");
  options.parse_positional({"model"});
  options.positional_help("FILE");
  return spqr::run_tool(argc, argv, options, spqr::run_inspect);
}
