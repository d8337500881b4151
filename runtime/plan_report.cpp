#include "runtime/plan_report.h"

#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "runtime/memory_plan.h"

namespace spqr {
namespace {

std::string blocks_of(const ModelParts& parts) {
  std::string text;
  if (parts.embedding) text += "embedding, ";
  text += parts.layers == 1
              ? fmt::format("block {}", parts.first_layer)
              : fmt::format("blocks {} to {}", parts.first_layer, parts.first_layer + parts.layers - 1);
  return parts.head ? text + ", head" : text;
}

std::string longest_of(const StagePlan& stage) {
  return stage.longest_context > 0 ? fmt::format("{} tokens", stage.longest_context) : "none";
}

}  // namespace

nlohmann::json to_json(const ModelPlan& plan, const PlannedModel& model, const std::string& refusal) {
  nlohmann::json object{{"context", plan.context},
                        {"batch", model.sizes.batch},
                        {"cache_type_k", name_of(model.sizes.cache_types.k)},
                        {"cache_type_v", name_of(model.sizes.cache_types.v)},
                        {"fits", plan.fits()},
                        {"longest_context", plan.longest_context()},
                        {"stages", nlohmann::json::array()}};
  if (!refusal.empty()) object["refused"] = refusal;
  for (const StagePlan& stage : plan.stages) {
    object["stages"].push_back({{"backend", stage.place.backend},
                                {"embedding", stage.place.parts.embedding},
                                {"first_block", stage.place.parts.first_layer},
                                {"blocks", stage.place.parts.layers},
                                {"head", stage.place.parts.head},
                                {"weights", stage.weights},
                                {"kv_cache", stage.cache},
                                {"workspace", stage.workspace},
                                {"margin", stage.margin},
                                {"total", stage.total()},
                                {"available", stage.place.available},
                                {"longest_context", stage.longest_context}});
  }
  return object;
}

std::string to_text(const ModelPlan& plan, const PlannedModel& model) {
  std::string text =
      fmt::format("context    {} tokens, {} keys, {} values; {} tokens at once\n", plan.context,
                  name_of(model.sizes.cache_types.k), name_of(model.sizes.cache_types.v), model.sizes.batch);
  for (const StagePlan& stage : plan.stages) {
    text += fmt::format(
        "{:<10} {}\n           weights    {:>12}\n           KV cache   {:>12}\n           workspace  "
        "{:>12}\n"
        "           margin     {:>12}\n           total      {:>12} of {} that are free\n"
        "           longest context that fits: {}\n",
        stage.place.backend, blocks_of(stage.place.parts), human_bytes(stage.weights),
        human_bytes(stage.cache), human_bytes(stage.workspace), human_bytes(stage.margin),
        human_bytes(stage.total()), human_bytes(stage.place.available), longest_of(stage));
  }
  return text;
}

}  // namespace spqr
