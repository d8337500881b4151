// What decoder architectures have in common: an embedding before the blocks, a norm and a head behind them,
// and the checks of what callers pass. An architecture adds its blocks.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "models/model.h"

namespace spqr {

class Decoder : public Model {
 public:
  const ModelConfig& config() const final { return config_; }
  void embed(Matrix x, std::span<const std::int32_t> ids) final;
  using Model::block;
  void block(std::int64_t layer, Matrix x, std::span<const Segment> segments) final;
  void head(Matrix logits, Matrix x) final;
  std::size_t bytes_per_token() const final;

 protected:
  // Loads embedding and head as `parts` says; parts.layers blocks are the derived class's to load.
  Decoder(const ModelConfig& config, WeightSource& source, Backend& backend, std::int64_t max_tokens,
          const ModelParts& parts);

  // x (tokens, hidden_size) through the block with this index among the loaded ones, in place. Arguments are
  // checked.
  virtual void forward(std::size_t index, Matrix x, std::span<const Segment> segments) = 0;
  // Of the weights of all loaded blocks.
  virtual std::size_t block_bytes() const = 0;

  Backend& backend() { return backend_; }
  // a = attention of q, for every segment after its k and v, rotated like q, have gone into its cache.
  // q, a (tokens, query_size); k, v (tokens, kv_size)
  void attend(Matrix a, Matrix q, Matrix k, Matrix v, const Rope& rope, std::span<const Segment> segments,
              const AttentionShape& shape);
  // As the configuration has it, positions told apart by rotation.
  AttentionShape attention_shape() const;
  // Throws std::runtime_error where the members have a bias and the configuration says that they have none,
  // or the other way round.
  LinearGroup load_group(WeightSource& source, const LinearGroupSpec& spec, bool bias);
  Norm load_norm(WeightSource& source, const std::string& module, std::int64_t size);

 private:
  const LinearGroup& lm_head() const { return config_.tie_word_embeddings ? embed_tokens_ : lm_head_; }
  void check_hidden(Matrix x) const;
  void check_segments(Matrix x, std::span<const Segment> segments) const;
  void load_embedding(WeightSource& source);
  void load_head(WeightSource& source);

  ModelConfig config_;
  Backend& backend_;
  std::int64_t max_tokens_;
  ModelParts parts_;
  LinearGroup embed_tokens_;  // (vocab_size, hidden_size); the head too where they are tied
  Norm norm_;                 // (hidden_size)
  LinearGroup lm_head_;       // (vocab_size, hidden_size)
};

// Widths of the projections of queries, and of keys and of values.
std::int64_t query_size(const ModelConfig& config);
std::int64_t kv_size(const ModelConfig& config);

// Bytes of matrices of these widths with a row per token. Throws std::invalid_argument where no memory holds
// so many.
std::size_t matrices_bytes(std::span<const std::int64_t> widths, std::int64_t tokens);

// Lays such matrices out in a buffer, one behind the other.
void cut_matrices(const Buffer& buffer, std::span<Matrix* const> matrices,
                  std::span<const std::int64_t> widths, std::int64_t tokens);

}  // namespace spqr
