// What every architecture offers: a stack of blocks between an embedding and a head, over weights from
// anywhere.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "models/config.h"
#include "models/kv_cache.h"

namespace spqr {

// Where a model's weights come from (a .spqr file, or a checkpoint being quantized). Views stay valid while
// the source lives.
class WeightSource {
 public:
  virtual ~WeightSource() = default;
  // Modules that read one input, e.g. {"model.layers.0.self_attn.q_proj", ...k_proj, ...v_proj}; biases where
  // present. Throws std::runtime_error naming what is missing or has another shape than (m[i], n).
  virtual LinearGroup linear_group(std::span<const std::string> modules, std::span<const std::int64_t> m,
                                   std::int64_t n) = 0;
  // f32 view of a vector such as "model.norm.weight".
  virtual std::span<const float> vector(const std::string& name, std::int64_t size) = 0;
};

// The linears of one block that share an input, as the quantizer needs them, in the order in which a forward
// pass uses them.
struct LinearGroupSpec {
  std::vector<std::string> modules;  // full module names
  std::vector<std::int64_t> m;       // out_features of each
  std::int64_t n = 0;                // in_features
};

// Rows of x, one behind the other, that continue a sequence: at rows first .. first + tokens - 1 of its
// cache.
struct Segment {
  KvLayer cache;
  std::int64_t first = 0;
  std::int64_t tokens = 0;
};

class Model {
 public:
  virtual ~Model() = default;
  virtual const ModelConfig& config() const = 0;

  // x (tokens, hidden_size) <- embeddings of ids
  virtual void embed(Matrix x, std::span<const std::int32_t> ids) = 0;
  // x through block `layer`. The segments, in order, are all of its rows. They may be of one cache: each sees
  // below its `first` what those before it have left there, and may overwrite what they have from there on.
  virtual void block(std::int64_t layer, Matrix x, std::span<const Segment> segments) = 0;
  // The same where x is one segment.
  void block(std::int64_t layer, Matrix x, const KvLayer& cache, std::int64_t first) {
    const Segment all{cache, first, x.rows};
    block(layer, x, {&all, 1});
  }
  // logits (tokens, vocab_size) of x (tokens, hidden_size): final norm and head. x is overwritten.
  virtual void head(Matrix logits, Matrix x) = 0;

  // Bytes of weights read for one decoded token.
  virtual std::size_t bytes_per_token() const = 0;
};

// The parts of a model that are in memory: everything to run it; one block only, to quantize it layer by
// layer.
struct ModelParts {
  bool embedding = true;
  bool head = true;
  std::int64_t first_layer = 0;
  std::int64_t layers = -1;  // -1: all
};

// Bytes of scratch a model needs to pass `tokens` tokens through a block at once, and what it then asks of a
// backend.
std::size_t workspace_bytes(const ModelConfig& config, std::int64_t tokens);
LargestShapes largest_shapes(const ModelConfig& config, std::int64_t tokens);

// max_tokens: the most that one call passes through.
std::unique_ptr<Model> make_model(const ModelConfig& config, WeightSource& source, Backend& backend,
                                  std::int64_t max_tokens, const ModelParts& parts);

// Throws std::invalid_argument for an id outside the vocabulary.
void check_ids(std::span<const std::int32_t> ids, const ModelConfig& config);

// The linear modules of block `layer`, grouped by input, in order of use.
std::vector<LinearGroupSpec> block_linears(const ModelConfig& config, std::int64_t layer);
// Names of the vectors (norms, biases) of block `layer`.
std::vector<std::string> block_vectors(const ModelConfig& config, std::int64_t layer);

// What lies outside the blocks. The head of every architecture is kHeadModule, (vocab_size, hidden_size).
inline constexpr const char* kHeadModule = "lm_head";
std::string embedding_module(const ModelConfig& config);   // "model.embed_tokens"
std::string final_norm_module(const ModelConfig& config);  // "model.norm"

// The vectors of a norm: its weight and, of a LayerNorm, its bias.
std::vector<std::string> norm_vectors(const ModelConfig& config, const std::string& module);
// Such a norm: RMSNorm or LayerNorm as the architecture has it, with the configuration's epsilon.
Norm read_norm(const ModelConfig& config, WeightSource& source, const std::string& module, std::int64_t size);

// Weights of a .spqr file, used in place.
class SpqrFile;
std::unique_ptr<WeightSource> make_weight_source(const SpqrFile& file);

}  // namespace spqr
