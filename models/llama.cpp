#include "models/llama.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <stdexcept>

namespace spqr {
namespace {

std::int64_t query_size(const ModelConfig& c) {
  return c.num_attention_heads * c.head_dim;
}
std::int64_t kv_size(const ModelConfig& c) {
  return c.num_key_value_heads * c.head_dim;
}
// Transformers gives o_proj a bias where LLaMA's configuration says so, and never for Qwen2.
bool has_o_proj_bias(const ModelConfig& c) {
  return c.attention_bias && c.model_type == "llama";
}

struct LlamaBlock {
  Norm input_layernorm;           // (hidden_size)
  LinearGroup qkv;                // q_proj (query_size, hidden_size); k_proj, v_proj (kv_size, hidden_size)
  Norm q_norm, k_norm;            // (head_dim), Qwen3 only
  LinearGroup o_proj;             // (hidden_size, query_size)
  Norm post_attention_layernorm;  // (hidden_size)
  LinearGroup gate_up;            // gate_proj, up_proj (intermediate_size, hidden_size)
  LinearGroup down_proj;          // (hidden_size, intermediate_size)

  std::size_t bytes() const {
    std::size_t total = 0;
    for (const LinearGroup* group : {&qkv, &o_proj, &gate_up, &down_proj}) total += group->bytes();
    for (const Norm* norm : {&input_layernorm, &q_norm, &k_norm, &post_attention_layernorm}) {
      total += norm->weight.size_bytes();
    }
    return total;
  }
};

// What a block writes on its way, a row per token, all in one buffer.
struct Workspace {
  Matrix q, a;      // (tokens, query_size)
  Matrix k, v;      // (tokens, kv_size)
  Matrix gate, up;  // (tokens, intermediate_size)

  static std::array<std::int64_t, 6> widths(const ModelConfig& c) {
    return {query_size(c), query_size(c), kv_size(c), kv_size(c), c.intermediate_size, c.intermediate_size};
  }

  Workspace(const Buffer& buffer, const ModelConfig& config, std::int64_t tokens) {
    auto* next = static_cast<float*>(buffer.data());
    const std::array<Matrix*, 6> matrices = {&q, &a, &k, &v, &gate, &up};
    for (std::size_t i = 0; i < matrices.size(); ++i) {
      const std::int64_t width = widths(config)[i];
      *matrices[i] = {next, tokens, width};
      next += tokens * width;
    }
  }
};

class Llama final : public Model {
 public:
  Llama(const ModelConfig& config, WeightSource& source, Backend& backend, std::int64_t max_tokens,
        const ModelParts& parts)
      : config_(config),
        backend_(backend),
        max_tokens_(max_tokens),
        first_layer_(parts.first_layer),
        inverse_frequency_(rope_inverse_frequency(config)) {
    if (parts.embedding || (parts.head && config.tie_word_embeddings)) load_embedding(source);
    if (parts.head) load_head(source);
    for (std::int64_t l = 0; l < parts.layers; ++l) blocks_.push_back(load_block(source, first_layer_ + l));
    if (!blocks_.empty()) memory_ = backend.allocate(llama_workspace_bytes(config, max_tokens));
  }

  const ModelConfig& config() const override { return config_; }

  void embed(Matrix x, std::span<const std::int32_t> ids) override {
    if (embed_tokens_.members.empty()) throw std::logic_error("this model was made without its embedding");
    check_hidden(x);
    if (x.rows != static_cast<std::int64_t>(ids.size())) {
      throw std::invalid_argument(fmt::format("{} ids for {} tokens", ids.size(), x.rows));
    }
    for (const std::int32_t id : ids) {
      if (id < 0 || id >= config_.vocab_size) {
        throw std::invalid_argument(
            fmt::format("token id {} is outside the vocabulary of {}", id, config_.vocab_size));
      }
    }
    backend_.embed(x, embed_tokens_.members.front(), ids);
  }

  void block(std::int64_t index, Matrix x, const KvLayer& cache, std::int64_t first) override {
    if (index < first_layer_ || index - first_layer_ >= static_cast<std::int64_t>(blocks_.size())) {
      throw std::logic_error(fmt::format("this model was made without block {}", index));
    }
    check_hidden(x);
    if (first < 0 || first > cache.capacity - x.rows) {
      throw std::invalid_argument(fmt::format("{} tokens from position {} do not fit into a KV cache for {}",
                                              x.rows, first, cache.capacity));
    }
    forward(blocks_[static_cast<std::size_t>(index - first_layer_)], x, cache, first);
  }

  void head(Matrix logits, Matrix x) override {
    if (norm_.weight.empty()) throw std::logic_error("this model was made without its head");
    check_hidden(x);
    if (logits.rows != x.rows || logits.cols != config_.vocab_size) {
      throw std::invalid_argument(fmt::format("logits are ({}, {}), expected ({}, {})", logits.rows,
                                              logits.cols, x.rows, config_.vocab_size));
    }
    backend_.linear_group({&logits, 1}, lm_head(), x, &norm_);
  }

  std::size_t bytes_per_token() const override {
    std::size_t total = 0;
    if (!embed_tokens_.members.empty()) {
      total += embed_tokens_.bytes() / static_cast<std::size_t>(config_.vocab_size);  // one row
    }
    for (const LlamaBlock& block : blocks_) total += block.bytes();
    if (!norm_.weight.empty()) total += norm_.weight.size_bytes() + lm_head().bytes();
    return total;
  }

 private:
  // x (tokens, hidden_size), updated in place.
  void forward(const LlamaBlock& layer, Matrix x, const KvLayer& cache, std::int64_t first) {
    const auto [q, a, k, v, gate, up] = Workspace(memory_, config_, x.rows);

    backend_.linear_group(std::array{q, k, v}, layer.qkv, x, &layer.input_layernorm);
    if (config_.qk_norm) {
      backend_.rms_norm(q, q, layer.q_norm);
      backend_.rms_norm(k, k, layer.k_norm);
    }
    backend_.rope_append(q, k, v, {inverse_frequency_}, cache, first);
    backend_.attention(a, q, cache, first, attention_shape());
    backend_.linear_add(x, layer.o_proj, a);

    backend_.linear_group(std::array{gate, up}, layer.gate_up, x, &layer.post_attention_layernorm);
    backend_.swiglu(gate, gate, up);
    backend_.linear_add(x, layer.down_proj, gate);
  }

  AttentionShape attention_shape() const {
    return {config_.num_attention_heads, config_.head_dim,
            static_cast<float>(1 / std::sqrt(static_cast<double>(config_.head_dim))), config_.sliding_window};
  }

  const LinearGroup& lm_head() const { return config_.tie_word_embeddings ? embed_tokens_ : lm_head_; }

  void check_hidden(Matrix x) const {
    if (x.rows < 1 || x.rows > max_tokens_ || x.cols != config_.hidden_size) {
      throw std::invalid_argument(fmt::format("activations are ({}, {}), expected 1 to {} tokens of {}",
                                              x.rows, x.cols, max_tokens_, config_.hidden_size));
    }
  }

  LinearGroup load_group(WeightSource& source, const LinearGroupSpec& spec, bool bias) {
    const LinearGroup group = source.linear_group(spec.modules, spec.m, spec.n);
    for (std::size_t i = 0; i < group.members.size(); ++i) {
      if (group.members[i].bias.empty() == bias) {
        throw std::runtime_error(fmt::format("{} has {} bias, but its configuration asks for {}",
                                             spec.modules[i], bias ? "no" : "a", bias ? "one" : "none"));
      }
    }
    return backend_.place(group);
  }

  Norm load_norm(WeightSource& source, const std::string& name, std::int64_t size) {
    return backend_.place(Norm{source.vector(name, size), static_cast<float>(config_.rms_norm_eps)});
  }

  void load_embedding(WeightSource& source) {
    embed_tokens_ =
        load_group(source, {{kEmbeddingModule}, {config_.vocab_size}, config_.hidden_size}, false);
    if (!embed_tokens_.perm.empty()) {
      throw std::runtime_error(fmt::format(
          "the columns of {} are permuted, which those of an embedding cannot be", kEmbeddingModule));
    }
  }

  void load_head(WeightSource& source) {
    norm_ = load_norm(source, kFinalNorm, config_.hidden_size);
    if (config_.tie_word_embeddings) return;
    lm_head_ = load_group(source, {{kHeadModule}, {config_.vocab_size}, config_.hidden_size}, false);
  }

  LlamaBlock load_block(WeightSource& source, std::int64_t layer) {
    const std::string prefix = fmt::format("model.layers.{}.", layer);
    const std::vector<LinearGroupSpec> linears = llama_block_linears(config_, layer);
    LlamaBlock block;
    block.input_layernorm = load_norm(source, prefix + "input_layernorm.weight", config_.hidden_size);
    block.qkv = load_group(source, linears[0], config_.attention_bias);
    if (config_.qk_norm) {
      block.q_norm = load_norm(source, prefix + "self_attn.q_norm.weight", config_.head_dim);
      block.k_norm = load_norm(source, prefix + "self_attn.k_norm.weight", config_.head_dim);
    }
    block.o_proj = load_group(source, linears[1], has_o_proj_bias(config_));
    block.post_attention_layernorm =
        load_norm(source, prefix + "post_attention_layernorm.weight", config_.hidden_size);
    block.gate_up = load_group(source, linears[2], config_.mlp_bias);
    block.down_proj = load_group(source, linears[3], config_.mlp_bias);
    return block;
  }

  ModelConfig config_;
  Backend& backend_;
  std::int64_t max_tokens_;
  std::int64_t first_layer_;
  std::vector<float> inverse_frequency_;  // (head_dim / 2)
  LinearGroup embed_tokens_;              // (vocab_size, hidden_size); the head too where they are tied
  std::vector<LlamaBlock> blocks_;
  Norm norm_;            // (hidden_size)
  LinearGroup lm_head_;  // (vocab_size, hidden_size)
  Buffer memory_;        // of the Workspace
};

}  // namespace

std::unique_ptr<Model> make_llama(const ModelConfig& config, WeightSource& source, Backend& backend,
                                  std::int64_t max_tokens, const ModelParts& parts) {
  return std::make_unique<Llama>(config, source, backend, max_tokens, parts);
}

std::size_t llama_workspace_bytes(const ModelConfig& config, std::int64_t tokens) {
  std::size_t values = 0;
  bool fits = tokens >= 0;
  for (const std::int64_t width : Workspace::widths(config)) {
    fits = fits && !__builtin_add_overflow(values, static_cast<std::size_t>(width), &values);
  }
  std::size_t bytes = 0;
  fits = fits && !__builtin_mul_overflow(values, static_cast<std::size_t>(tokens), &bytes) &&
         !__builtin_mul_overflow(bytes, sizeof(float), &bytes);
  if (!fits)
    throw std::invalid_argument(fmt::format("{} tokens at once are more than any memory holds", tokens));
  return bytes;
}

std::vector<LinearGroupSpec> llama_block_linears(const ModelConfig& config, std::int64_t layer) {
  const std::int64_t hidden = config.hidden_size;
  const std::int64_t intermediate = config.intermediate_size;
  const std::string attention = fmt::format("model.layers.{}.self_attn.", layer);
  const std::string mlp = fmt::format("model.layers.{}.mlp.", layer);
  return {{{attention + "q_proj", attention + "k_proj", attention + "v_proj"},
           {query_size(config), kv_size(config), kv_size(config)},
           hidden},
          {{attention + "o_proj"}, {hidden}, query_size(config)},
          {{mlp + "gate_proj", mlp + "up_proj"}, {intermediate, intermediate}, hidden},
          {{mlp + "down_proj"}, {hidden}, intermediate}};
}

std::vector<std::string> llama_block_vectors(const ModelConfig& config, std::int64_t layer) {
  std::vector<std::string> names;
  const auto add = [&](bool present, std::initializer_list<const char*> more) {
    for (const char* name : more) {
      if (present) names.push_back(fmt::format("model.layers.{}.{}", layer, name));
    }
  };
  add(true, {"input_layernorm.weight", "post_attention_layernorm.weight"});
  add(config.qk_norm, {"self_attn.q_norm.weight", "self_attn.k_norm.weight"});
  add(config.attention_bias, {"self_attn.q_proj.bias", "self_attn.k_proj.bias", "self_attn.v_proj.bias"});
  add(has_o_proj_bias(config), {"self_attn.o_proj.bias"});
  add(config.mlp_bias, {"mlp.gate_proj.bias", "mlp.up_proj.bias", "mlp.down_proj.bias"});
  return names;
}

}  // namespace spqr
