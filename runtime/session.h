// A model that is ready to run: file, backend, weights in place, KV cache, tokenizer.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "models/kv_cache.h"
#include "models/model.h"
#include "models/spqr_file.h"
#include "runtime/memory_plan.h"
#include "tokenizer/tokenizer.h"

namespace spqr {

struct SessionOptions {
  std::filesystem::path model{};
  std::string backend = "auto";
  int threads = 0;  // 0: one per core
  ActivationType activations = ActivationType::automatic;
  std::string isa = "auto";  // of the cpu backend
  // Tokens of KV cache, at most the model's maximum; 0: the smallest of that, 4096 and what fits
  std::int64_t context = 0;
  bool beyond_maximum = false;     // context may be more than the model was made for: speed is measured
  std::int64_t batch = 512;        // tokens that one forward pass takes at most
  std::int64_t logits_tokens = 1;  // whose logits visit_logits() computes at once
  CacheTypes cache_types = {};
  bool mmap = true;
  bool mlock = false;  // weights stay in memory
  bool verify = false;
  // What is to be between the model and its backend, such as a ProfileBackend; empty: nothing.
  std::function<std::unique_ptr<Backend>(std::unique_ptr<Backend> inner)> wrap_backend = {};
};

// Asked between blocks; true stops what is going on.
using StopCheck = std::function<bool()>;

// What a pass throws that was told to stop. The sequence is as long as the batches that were finished.
class Interrupted : public std::runtime_error {
 public:
  Interrupted() : std::runtime_error("interrupted") {}
};

class Session {
 public:
  // Plans memory before it loads. Throws std::runtime_error with one sentence.
  explicit Session(const SessionOptions& options);

  const ModelConfig& config() const { return model_->config(); }
  const SpqrFile& file() const { return file_; }
  const MemoryPlan& plan() const { return plan_; }
  std::string_view backend_name() const { return backend_->name(); }
  const Tokenizer* tokenizer() const { return tokenizer_.get(); }  // null: the model takes and gives ids only
  std::size_t bytes_per_token() const { return model_->bytes_per_token(); }
  double load_seconds() const { return load_seconds_; }

  std::int64_t length() const { return cache_->length(); }    // tokens in the cache
  std::span<const std::int32_t> ids() const { return ids_; }  // these
  std::int64_t context() const { return cache_->capacity(); }
  Backend& backend() { return *backend_; }
  const KvCache& cache() const { return *cache_; }
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
  // the vocabulary, Interrupted where `stop` says so.
  std::span<const float> forward(std::span<const std::int32_t> ids, const StopCheck& stop = {});

  // Appends ids and hands the logits of all of them to `visit`: rows first .. first + logits.rows, in order.
  void visit_logits(std::span<const std::int32_t> ids,
                    const std::function<void(Matrix logits, std::int64_t first)>& visit,
                    const StopCheck& stop = {});

 private:
  // x of the last batch of `ids`, all blocks done; calls `each` after every batch with its activations and
  // first index.
  void run_blocks(std::span<const std::int32_t> ids, const StopCheck& stop,
                  const std::function<void(Matrix x, std::int64_t first, bool last)>& each);

  std::chrono::steady_clock::time_point begin_;
  std::size_t available_;  // bytes of memory before the file was opened
  SpqrFile file_;
  std::int64_t batch_;
  std::int64_t logits_tokens_;
  MemoryPlan plan_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<WeightSource> weights_;
  std::unique_ptr<Model> model_;
  std::unique_ptr<KvCache> cache_;
  std::vector<std::int32_t> ids_;
  std::unique_ptr<Tokenizer> tokenizer_;
  Buffer activations_;
  Buffer logits_;
  std::vector<float> host_logits_;
  double load_seconds_ = 0;
};

}  // namespace spqr
