#include "runtime/apps/plan_options.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "kernels/cuda/counting_backend.h"
#include "kernels/cuda/cuda_backend.h"
#include "models/json.h"
#include "runtime/memory_plan.h"
#include "runtime/plan_report.h"

namespace spqr {
namespace {

// No device has more: scratch grows with them, a little.
constexpr int kMostMultiprocessors = 192;

// Backends of a plan, and where its stages are.
struct Places {
  std::vector<std::unique_ptr<Backend>> backends;
  std::vector<StagePlace> stages;
};

bool is_for_gpu(const SessionOptions& options, bool memory_given) {
  if (options.gpu_layers == 0) return false;
  return options.backend == "cuda" || (options.backend == "auto" && (memory_given || cuda_is_real()));
}

Places places_of(const SessionOptions& options, const ModelConfig& config,
                 std::optional<std::size_t> memory) {
  Places places;
  const BackendOptions made{options.threads, options.activations, options.isa};
  const bool gpu = is_for_gpu(options, memory.has_value());
  const auto parts = cut_model(config, gpu ? options.gpu_layers : std::nullopt);
  if (!gpu || parts.size() > 1) {
    places.backends.push_back(make_backend(options.backend == "reference" ? "reference" : "cpu", made));
    places.stages.push_back(place_on(*places.backends.back(), parts.front(),
                                     gpu ? available_memory() : memory.value_or(available_memory())));
  }
  if (!gpu) return places;
  if (memory) {
    places.stages.push_back({"cuda", parts.back(), free_of_device(*memory),
                             [] { return cuda::make_counting_backend(kMostMultiprocessors); }});
    return places;
  }
  if (!cuda_absence().empty())
    throw std::runtime_error(
        fmt::format("no GPU says how much memory it has, because {}; --device-memory does", cuda_absence()));
  places.backends.push_back(make_backend("cuda", made));
  places.stages.push_back(place_on(*places.backends.back(), parts.back(), 0));
  return places;
}

}  // namespace

void add_plan_options(cxxopts::Options& options) {
  options.add_options()("plan", "print what memory it takes, and the longest context that fits, and end")(
      "device-memory",
      "plan for a GPU of this size (24GiB, 512MiB), or with --backend cpu for so much memory; default: what "
      "is free",
      cxxopts::value<std::string>(), "SIZE");
}

std::size_t byte_size(const std::string& text) {
  static constexpr std::array<std::pair<std::string_view, double>, 10> kUnits{{{"GiB", 0x1p30},
                                                                               {"GB", 1e9},
                                                                               {"G", 0x1p30},
                                                                               {"MiB", 0x1p20},
                                                                               {"MB", 1e6},
                                                                               {"M", 0x1p20},
                                                                               {"KiB", 0x1p10},
                                                                               {"kB", 1e3},
                                                                               {"B", 1},
                                                                               {"", 1}}};
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
  unit.remove_prefix(std::min(unit.find_first_not_of(' '), unit.size()));
  for (const auto& [name, bytes] : kUnits) {
    if (error == std::errc() && unit == name && number > 0 && number * bytes < 0x1p60)
      return static_cast<std::size_t>(number * bytes);
  }
  throw UsageError(fmt::format("'{}' is no size of memory; sizes are like 24GiB, 24GB, 512MiB", text));
}

std::size_t free_of_device(std::size_t memory) {
  constexpr double kUsable = 22.4 / 24;
  constexpr double kContext = 0.5 * 0x1p30;
  return static_cast<std::size_t>(std::max(0.0, kUsable * static_cast<double>(memory) - kContext));
}

int print_plan(const cxxopts::ParseResult& parsed, const SessionOptions& options, ModelConfig config,
               WeightSource& weights, std::optional<std::size_t> file_bytes) {
  std::optional<std::size_t> memory;
  if (parsed.count("device-memory") > 0) memory = byte_size(parsed["device-memory"].as<std::string>());
  config.max_position_embeddings = std::max(config.max_position_embeddings, options.context);
  const std::int64_t longest = options.context > 0 ? options.context : config.max_position_embeddings;
  const StageSizes sizes{options.context, std::min(options.batch, longest), options.logits_tokens,
                         options.cache_types};
  const Places places = places_of(options, config, memory);
  const PlannedModel model{config, weights, file_bytes, sizes};
  const ModelPlan plan = plan_model(model, places.stages);
  const std::string refusal = refusal_of(plan, model);
  if (parsed.count("json") > 0) {
    print(fmt::format("{}\n", to_text(to_json(plan, model, refusal), 2)));
  } else {
    print(to_text(plan, model));
  }
  if (!refusal.empty()) throw std::runtime_error(refusal);
  return kExitGood;
}

}  // namespace spqr
