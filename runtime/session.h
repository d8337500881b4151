// A model that is ready to run: file, backend, weights in place, KV cache, tokenizer.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "models/kv_cache.h"
#include "models/model.h"
#include "models/spqr_file.h"
#include "runtime/branches.h"
#include "runtime/stage_plan.h"
#include "runtime/stages.h"
#include "tokenizer/tokenizer.h"

namespace spqr {

struct SessionOptions {
  std::filesystem::path model{};
  std::string backend = "auto";
  int threads = 0;  // 0: one per core
  ActivationType activations = ActivationType::automatic;
  std::string isa = "auto";  // of the cpu backend
  // The last so many blocks, and the head, run on the backend if it is a GPU, the others on `cpu`; nothing:
  // all.
  std::optional<std::int64_t> gpu_layers = {};
  // Tokens of KV cache, at most the model's maximum; 0: the smallest of that, 4096 and what fits
  std::int64_t context = 0;
  bool beyond_maximum = false;     // context may be more than the model was made for: speed is measured
  std::int64_t batch = 512;        // tokens that one forward pass takes at most
  std::int64_t logits_tokens = 1;  // whose logits visit_logits() computes at once
  CacheTypes cache_types = {};
  bool mmap = true;
  bool mlock = false;  // weights stay in memory
  bool verify = false;
  // Told of weights that are on a GPU so far, and of those that will be.
  std::function<void(std::size_t bytes, std::size_t total)> uploaded = {};
  // What is to be between the model and each backend, such as a ProfileBackend; empty: nothing.
  std::function<std::unique_ptr<Backend>(std::unique_ptr<Backend> inner)> wrap_backend = {};
};

class Session {
 public:
  // Plans memory before it loads. Throws std::runtime_error with one sentence.
  explicit Session(const SessionOptions& options);

  const ModelConfig& config() const { return config_; }
  const SpqrFile& file() const { return file_; }
  const ModelPlan& plan() const { return plan_; }
  std::string backend_name() const;                                // "cuda"; of several "cpu+cuda"
  const Tokenizer* tokenizer() const { return tokenizer_.get(); }  // null: the model takes and gives ids only
  std::size_t bytes_per_token() const { return stages_.bytes_per_token(); }
  std::size_t cache_bytes_per_token() const { return KvCache::token_bytes(config_, sizes_.cache_types); }
  double load_seconds() const { return load_seconds_; }

  std::int64_t length() const { return static_cast<std::int64_t>(ids_.size()); }  // tokens in the cache
  std::span<const std::int32_t> ids() const { return ids_; }                      // these
  std::int64_t context() const { return plan_.context; }
  // Where a block runs, with its part of the cache.
  const Stage& stage(std::int64_t layer) const { return stages_.of_block(layer); }
  // Logits are in memory that is not the host's: those that are not needed had better stay there.
  bool keeps_logits() const { return keeps_logits_; }
  // Forgets all but the first `tokens`. Throws std::invalid_argument where there are fewer.
  void rewind(std::int64_t tokens);
  // Rewinds to what the sequence has in common with `ids`, and returns the rest of them, at least one; empty
  // where `ids` is empty.
  std::span<const std::int32_t> rewind_to(std::span<const std::int32_t> ids);
  // The sequence is `ids`, whose keys and values somebody has put into the cache. Throws
  // std::invalid_argument where it does not hold so many.
  void adopt(std::vector<std::int32_t> ids);

  // Appends ids to the sequence and returns the logits (vocab_size) after the last one. Valid until the next
  // call. Throws std::out_of_range where they do not fit the context, std::invalid_argument for ids outside
  // the vocabulary, Interrupted where `stop` says so: then the sequence is as long as the batches that were
  // finished.
  std::span<const float> forward(std::span<const std::int32_t> ids, const StopCheck& stop = {});

  // The same for the `count` largest of these logits (Backend::largest), which then are all that is brought
  // to the host. 1 <= count <= min(vocab_size, Backend::kMostCandidates).
  std::vector<TokenLogit> forward_to_largest(std::span<const std::int32_t> ids, std::int64_t count,
                                             const StopCheck& stop = {});

  // Appends ids and hands the logits of all of them to `visit`: rows first .. first + logits.rows, in order.
  void visit_logits(std::span<const std::int32_t> ids,
                    const std::function<void(Matrix logits, std::int64_t first)>& visit,
                    const StopCheck& stop = {});

  // Forgets the sequence, evaluates the branches in batches, and hands logits to `visit`: those of the tokens
  // with the indices `wanted`, ascending, all branches' tokens counted through; rows first .. first +
  // logits.rows of these, in order. The sequence is empty afterwards.
  void visit_branches(std::span<const Branch> branches, std::span<const std::int64_t> wanted,
                      const std::function<void(Matrix logits, std::int64_t first)>& visit,
                      const StopCheck& stop = {});

 private:
  void plan(const SessionOptions& options);
  std::unique_ptr<Backend> make(const SessionOptions& options, std::string_view name);
  void load();
  // Calls `pass` for one batch of `ids` after the other, with its position in the sequence; when it returns,
  // the batch is part of that. Calls `done` then.
  void for_batches(std::span<const std::int32_t> ids,
                   const std::function<void(std::span<const std::int32_t> batch)>& pass,
                   const std::function<void(std::int64_t first)>& done = {});
  // Leaves the logits after the last of `ids` in the last stage.
  Matrix evaluate(std::span<const std::int32_t> ids, const StopCheck& stop);
  // Logits of x, in the last stage's memory, in pieces. x is overwritten.
  void visit_head(Matrix x, const std::function<void(Matrix logits, std::int64_t first)>& visit);
  // x, in the last stage's memory, becomes those of its rows with these indices, ascending.
  Matrix gather(Matrix x, std::span<const std::int64_t> rows);

  std::chrono::steady_clock::time_point begin_;
  std::size_t available_;  // bytes of memory before the file was opened
  SpqrFile file_;
  ModelConfig config_;
  StageSizes sizes_;
  std::vector<std::unique_ptr<Backend>> backends_;  // of the stages
  ModelPlan plan_;
  std::unique_ptr<WeightSource> weights_;
  Stages stages_;
  bool keeps_logits_ = false;
  std::vector<std::int32_t> ids_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::vector<float> host_logits_;
  std::vector<float> host_rows_;
  double load_seconds_ = 0;
};

}  // namespace spqr
