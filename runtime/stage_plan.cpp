#include "runtime/stage_plan.h"

#include <fmt/core.h>

#include <algorithm>
#include <limits>
#include <stdexcept>

#include "runtime/memory_plan.h"

namespace spqr {
namespace {

constexpr std::int64_t kMostContext = std::numeric_limits<std::int32_t>::max();

bool is_whole(const ModelParts& parts, const ModelConfig& config) {
  return parts.embedding && parts.head && parts.layers == config.num_hidden_layers;
}

// Bytes of the weights of these parts in the file.
std::size_t stored_bytes(const PlannedModel& model, const ModelParts& parts) {
  const ModelConfig& c = model.config;
  std::size_t total = 0;
  const auto add = [&](const LinearGroupSpec& spec) {
    total += model.weights.linear_group(spec.modules, spec.m, spec.n).bytes();
  };
  if (parts.embedding || (parts.head && c.tie_word_embeddings))
    add({{embedding_module(c)}, {c.vocab_size}, c.hidden_size});
  if (parts.head && !c.tie_word_embeddings) add({{kHeadModule}, {c.vocab_size}, c.hidden_size});
  for (std::int64_t l = 0; l < parts.layers; ++l) {
    for (const LinearGroupSpec& spec : block_linears(c, parts.first_layer + l)) add(spec);
  }
  return total;
}

MemoryNeeds host_needs(const PlannedModel& model, const StagePlace& place) {
  const std::size_t weights = model.file_bytes && is_whole(place.parts, model.config)
                                  ? *model.file_bytes
                                  : stored_bytes(model, place.parts);
  return memory_needs(config_of(model.config, place.parts), weights, *place.host, model.sizes.cache_types,
                      model.sizes.batch, place.parts.head ? model.sizes.logits_tokens : 0);
}

StagePlan plan_on_host(const PlannedModel& model, const StagePlace& place, std::int64_t context) {
  const MemoryPlan needed{host_needs(model, place), context};
  StagePlan plan{place, needed.needs.weights, needed.cache(), needed.needs.workspace, 0, 0};
  const std::size_t fixed = plan.weights + plan.workspace;
  if (place.available > fixed) {
    plan.longest_context = static_cast<std::int64_t>(std::min<std::size_t>(
        (place.available - fixed) / std::max<std::size_t>(needed.needs.cache_per_token, 1), kMostContext));
  }
  return plan;
}

std::size_t counted_cache(const PlannedModel& model, const StagePlace& place, std::int64_t context) {
  const auto counting = place.counting();
  const KvCache cache(*counting, config_of(model.config, place.parts), context, model.sizes.cache_types);
  return counting->bytes();
}

std::size_t counted_weights(const PlannedModel& model, const StagePlace& place) {
  const auto counting = place.counting();
  const auto made = make_model(model.config, model.weights, *counting, 1, place.parts);
  return counting->bytes() - workspace_bytes(model.config, 1);
}

// The longest context whose cache takes no more than `room`: in proportion to it, but for what alignment
// costs.
std::int64_t longest_context(const PlannedModel& model, const StagePlace& place, std::size_t room) {
  const std::size_t per_token =
      KvCache::token_bytes(config_of(model.config, place.parts), model.sizes.cache_types);
  auto context = static_cast<std::int64_t>(std::min<std::size_t>(room / per_token, kMostContext));
  while (context > 0 && counted_cache(model, place, context) > room) --context;
  return context;
}

StagePlan plan_on_device(const PlannedModel& model, const StagePlace& place, std::int64_t context) {
  StageSizes sizes = model.sizes;
  sizes.context = context;
  const auto counting = place.counting();
  const Stage stage(*counting, model.config, model.weights, place.parts, sizes);
  StagePlan plan{place, counted_weights(model, place), counted_cache(model, place, context), 0, kDeviceMargin,
                 0};
  plan.workspace = counting->bytes() - plan.weights - plan.cache +
                   counting->scratch_bytes(largest_shapes(model.config, sizes.batch));
  const std::size_t fixed = plan.total() - plan.cache;
  if (place.available > fixed) plan.longest_context = longest_context(model, place, place.available - fixed);
  return plan;
}

StagePlan plan_stage(const PlannedModel& model, const StagePlace& place, std::int64_t context) {
  return place.counting ? plan_on_device(model, place, context) : plan_on_host(model, place, context);
}

ModelPlan plan_with(const PlannedModel& model, const std::vector<StagePlace>& places, std::int64_t context) {
  ModelPlan plan;
  plan.context = context;
  for (const StagePlace& place : places) plan.stages.push_back(plan_stage(model, place, context));
  return plan;
}

// The most blocks at the end of the model, with the head, that fit where all of it does not; 0: none.
std::int64_t most_blocks(const PlannedModel& model, const StagePlan& refused, std::int64_t context) {
  std::int64_t fitting = 0;
  std::int64_t too_many = refused.place.parts.layers;
  while (fitting + 1 < too_many) {
    const std::int64_t tried = (fitting + too_many) / 2;
    StagePlace place = refused.place;
    place.parts = cut_model(model.config, tried).back();
    (plan_on_device(model, place, context).fits() ? fitting : too_many) = tried;
  }
  return fitting;
}

std::string advice(const ModelPlan& plan, const StagePlan& refused, const PlannedModel& model) {
  std::string text;
  if (plan.longest_context() > 0) text = fmt::format("; -c {} would fit", plan.longest_context());
  const std::int64_t blocks = most_blocks(model, refused, plan.context);
  if (blocks > 0) {
    text += fmt::format("{} --gpu-layers {}{}", text.empty() ? ";" : ", or", blocks,
                        text.empty() ? " would fit, the other blocks on the CPU" : "");
  }
  if (text.empty() && refused.weights < refused.place.available) text = "; a smaller -b takes less workspace";
  return text;
}

std::string host_refusal(const ModelPlan& plan, const StagePlan& refused, const PlannedModel& model) {
  try {
    plan_memory(host_needs(model, refused.place), plan.context, plan.context, refused.place.available);
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "";
}

}  // namespace

StagePlace place_on(const Backend& backend, const ModelParts& parts, std::size_t host_memory) {
  const std::optional<std::size_t> own = backend.free_memory();
  if (!own) return {std::string(backend.name()), parts, host_memory, {}, &backend};
  return {std::string(backend.name()), parts, *own, [&backend] { return backend.counting(); }};
}

std::vector<ModelParts> cut_model(const ModelConfig& config, std::optional<std::int64_t> last_blocks) {
  const std::int64_t blocks = config.num_hidden_layers;
  if (!last_blocks || *last_blocks >= blocks) return {{.layers = blocks}};
  return {{.head = false, .layers = blocks - *last_blocks},
          {.embedding = false, .first_layer = blocks - *last_blocks, .layers = *last_blocks}};
}

bool ModelPlan::fits() const {
  return std::ranges::all_of(stages, [](const StagePlan& stage) { return stage.fits(); });
}

std::int64_t ModelPlan::longest_context() const {
  std::int64_t longest = kMostContext;
  for (const StagePlan& stage : stages) longest = std::min(longest, stage.longest_context);
  return longest;
}

ModelPlan plan_model(const PlannedModel& model, const std::vector<StagePlace>& places) {
  if (model.sizes.context > 0) return plan_with(model, places, model.sizes.context);
  const std::int64_t usual = std::min(model.config.max_position_embeddings, kDefaultContext);
  ModelPlan plan = plan_with(model, places, usual);
  if (plan.fits()) return plan;
  return plan_with(model, places, std::max<std::int64_t>(1, std::min(usual, plan.longest_context())));
}

std::string refusal_of(const ModelPlan& plan, const PlannedModel& model) {
  for (const StagePlan& stage : plan.stages) {
    if (stage.fits()) continue;
    if (!stage.place.counting) return host_refusal(plan, stage, model);
    return fmt::format(
        "too little memory on the GPU: {} of weights, {} of KV cache for {} tokens, {} of workspace and a "
        "margin "
        "of {} are {}, but {} are free{}",
        human_bytes(stage.weights), human_bytes(stage.cache), plan.context, human_bytes(stage.workspace),
        human_bytes(stage.margin), human_bytes(stage.total()), human_bytes(stage.place.available),
        advice(plan, stage, model));
  }
  return "";
}

}  // namespace spqr
