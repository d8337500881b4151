// What a model takes of the memory of each backend that its parts run on, known before anything large is
// read. The host's is planned as memory_plan.h says; that of a backend with memory of its own is counted, to
// the byte, with the very calls that take it later.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "models/model.h"
#include "runtime/stages.h"

namespace spqr {

// Where some blocks are to run.
struct StagePlace {
  std::string backend;
  ModelParts parts;           // layers: a number of blocks
  std::size_t available = 0;  // bytes of memory
  // Of a backend with memory of its own; otherwise `host` is what works in the host's.
  std::function<std::unique_ptr<CountingBackend>()> counting = {};
  const Backend* host = nullptr;
};

// All of the memory that `backend`, which lives as long, has of its own, or `host_memory`.
StagePlace place_on(const Backend& backend, const ModelParts& parts, std::size_t host_memory);

// The whole model, or where `last_blocks` are fewer than it has: those before them with the embedding, and
// them with the head.
std::vector<ModelParts> cut_model(const ModelConfig& config, std::optional<std::int64_t> last_blocks);

struct StagePlan {
  StagePlace place;
  std::size_t weights = 0;
  std::size_t cache = 0;
  std::size_t workspace = 0;         // activations, logits and what operations take
  std::size_t margin = 0;            // kept free
  std::int64_t longest_context = 0;  // tokens of KV cache that fit, whatever the model was made for; 0: none

  std::size_t reserved() const { return weights + cache + workspace; }
  std::size_t total() const { return reserved() + margin; }
  bool fits() const { return total() <= place.available; }
};

struct ModelPlan {
  std::int64_t context = 0;
  std::vector<StagePlan> stages;

  bool fits() const;
  std::int64_t longest_context() const;  // that fits every stage
};

// Of a model that is planned; all of it outlives the planning.
struct PlannedModel {
  const ModelConfig& config;
  WeightSource& weights;
  // All of which is mapped where all of the model is in host memory; nothing: there is no file.
  std::optional<std::size_t> file_bytes;
  StageSizes sizes;  // context 0: the smallest of the model's maximum, 4096 and what fits
};

// A GPU needs some for kernels when they are first launched and for recorded steps.
inline constexpr std::size_t kDeviceMargin = std::size_t{96} << 20U;

ModelPlan plan_model(const PlannedModel& model, const std::vector<StagePlace>& places);

// Why it does not fit, one sentence with the numbers and what would; empty: it does.
std::string refusal_of(const ModelPlan& plan, const PlannedModel& model);

}  // namespace spqr
