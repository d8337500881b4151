// A model cut into parts that run on one backend each, one behind the other, and what they keep in memory
// there.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <stdexcept>
#include <vector>

#include "kernels/backend.h"
#include "models/kv_cache.h"
#include "models/model.h"
#include "runtime/branches.h"

namespace spqr {

// Asked between blocks; true stops what is going on.
using StopCheck = std::function<bool()>;

// What a pass throws that was told to stop.
class Interrupted : public std::runtime_error {
 public:
  Interrupted() : std::runtime_error("interrupted") {}
};

// What the memory of a model follows from beside its weights.
struct StageSizes {
  std::int64_t context = 0;        // tokens of KV cache
  std::int64_t batch = 0;          // tokens that pass at once, at most
  std::int64_t logits_tokens = 1;  // whose logits are computed at once
  CacheTypes cache_types = {};
};

// Some blocks of a model on one backend, with all memory that they take there. On a CountingBackend it tells
// how much that is.
class Stage {
 public:
  // parts.layers is a number of blocks. `backend` lives as long, and `source` where that works in host
  // memory.
  Stage(Backend& backend, const ModelConfig& config, WeightSource& source, const ModelParts& parts,
        const StageSizes& sizes);

  Backend& backend() const { return backend_; }
  Model& model() const { return *model_; }
  const ModelParts& parts() const { return parts_; }
  bool has_block(std::int64_t layer) const {
    return layer >= parts_.first_layer && layer - parts_.first_layer < parts_.layers;
  }
  const KvLayer& cache(std::int64_t layer) const { return cache_.layer(layer - parts_.first_layer); }
  // (tokens, hidden_size): what passes through.
  Matrix x(std::int64_t tokens) const { return x_.matrix(tokens, model_->config().hidden_size); }
  // (tokens, vocab_size), where the head is here.
  Matrix logits(std::int64_t tokens) const { return logits_.matrix(tokens, model_->config().vocab_size); }

 private:
  Backend& backend_;
  ModelParts parts_;
  std::unique_ptr<Model> model_;
  KvCache cache_;
  Buffer x_;
  Buffer logits_;
};

// The configuration of a model that has these blocks only.
ModelConfig config_of(ModelConfig config, const ModelParts& parts);

// All parts of a model, in order. Activations go from one to the next through host memory.
class Stages {
 public:
  void add(std::unique_ptr<Stage> stage) { stages_.push_back(std::move(stage)); }

  Stage& of_block(std::int64_t layer) const;
  Stage& last() const { return *stages_.back(); }
  // Weights read for one token.
  std::size_t bytes_per_token() const;

  // x of `ids` behind the last block, in the last stage's memory. They are tokens of the positions `at`, one
  // behind the other, and see what is in the cache below these. Throws Interrupted where `stop` says so.
  Matrix pass(std::span<const std::int32_t> ids, std::span<const Positions> at, const StopCheck& stop);
  // The same at positions first .. of the sequence.
  Matrix pass(std::span<const std::int32_t> ids, std::int64_t first, const StopCheck& stop);
  // The same and the logits (1, vocab_size) after the last of them, which stay there. A single token goes
  // through Backend::decode().
  Matrix pass_to_logits(std::span<const std::int32_t> ids, std::int64_t first, const StopCheck& stop);
  // Logits of x (tokens, hidden_size), which is overwritten, in the last stage's memory.
  Matrix head(Matrix x) const;

 private:
  // x of the stage as the one before has left it.
  void receive(std::size_t stage, std::int64_t tokens);
  // All but the last; x is where it is taken up.
  Matrix pass_to_last(std::span<const std::int32_t> ids, std::span<const Positions> at,
                      const StopCheck& stop);
  void run(std::size_t stage, std::span<const std::int32_t> ids, std::span<const Positions> at,
           const StopCheck& stop);

  std::vector<std::unique_ptr<Stage>> stages_;
  std::vector<float> moved_;
};

}  // namespace spqr
