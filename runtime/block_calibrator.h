// Passes the calibration sequences through one block at a time, watching the inputs of its linears.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "models/model.h"
#include "runtime/activations.h"
#include "runtime/block_weights.h"
#include "runtime/capture_backend.h"

namespace spqr {

class BlockCalibrator {
 public:
  // `backend` computes; it and `config` outlive this. after_sequence is called after each sequence and may
  // throw to end a pass. activations_file: see make_activations.
  BlockCalibrator(const ModelConfig& config, Backend& backend,
                  std::vector<std::vector<std::int32_t>> sequences,
                  const std::filesystem::path& activations_file, std::function<void()> after_sequence);

  std::int64_t sequences() const { return static_cast<std::int64_t>(sequences_.size()); }
  std::size_t groups(std::int64_t layer) const { return block_linears(config_, layer).size(); }

  // Starts from the embeddings: table (vocab_size, hidden_size) f32.
  void embed(std::span<const float> table);

  // H of the inputs of groups first .. last (inclusive, as block_linears numbers them), with the weights as
  // they are. The activations stay at the block's input.
  std::vector<SecondMoments> watch(std::int64_t layer, BlockWeights& weights, std::size_t first,
                                   std::size_t last);

  // The activations become the block's output.
  void propagate(std::int64_t layer, BlockWeights& weights);

  // H of the head's input: norm(x) of the activations.   norm (hidden_size)
  SecondMoments watch_head(const Norm& norm);

  // Bytes that passes need besides the weights and the moments.
  static std::size_t workspace(const ModelConfig& config, std::int64_t length);

 private:
  // Calls body(sequence index, its activations) for each; `store`: keeps what body made of them.
  void for_each_sequence(bool store, const std::function<void(Matrix)>& body);
  std::unique_ptr<Model> make_block(std::int64_t layer, BlockWeights& weights);

  const ModelConfig& config_;
  CaptureBackend backend_;
  std::vector<std::vector<std::int32_t>> sequences_;
  std::function<void()> after_sequence_;
  std::int64_t longest_ = 0;
  std::unique_ptr<Activations> activations_;
  KvCache cache_;  // one layer's
  Buffer x_;
};

}  // namespace spqr
