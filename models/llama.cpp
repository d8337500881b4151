#include "models/llama.h"

#include <fmt/core.h>

#include <array>
#include <cmath>
#include <optional>
#include <stdexcept>
#include <utility>

namespace spqr {
namespace {

struct LlamaBlock {
  Norm input_layernorm;  // (hidden_size)
  LinearGroup
      qkv;  // q_proj (heads * head_dim, hidden_size), k_proj, v_proj (kv_heads * head_dim, hidden_size)
  std::optional<Norm> q_norm;     // (head_dim), Qwen3
  std::optional<Norm> k_norm;     // (head_dim), Qwen3
  LinearGroup o_proj;             // (hidden_size, heads * head_dim)
  Norm post_attention_layernorm;  // (hidden_size)
  LinearGroup gate_up;            // gate_proj, up_proj (intermediate_size, hidden_size)
  LinearGroup down_proj;          // (hidden_size, intermediate_size)
};

std::string block_prefix(std::int64_t layer) {
  return fmt::format("model.layers.{}.", layer);
}
std::int64_t query_size(const ModelConfig& c) {
  return c.num_attention_heads * c.head_dim;
}
std::int64_t kv_size(const ModelConfig& c) {
  return c.num_key_value_heads * c.head_dim;
}

// Activations of a block, for up to max_tokens tokens, in one buffer.
class Workspace {
 public:
  Workspace(Backend& backend, const ModelConfig& config, std::int64_t max_tokens)
      : max_tokens_(max_tokens), buffer_(backend.allocate(bytes(config, max_tokens))) {
    auto* next = static_cast<float*>(buffer_.data());
    for (std::size_t i = 0; i < widths_.size(); ++i) {
      widths_[i] = widths(config)[i];
      starts_[i] = next;
      next += widths_[i] * max_tokens;
    }
  }
  static std::size_t bytes(const ModelConfig& config, std::int64_t tokens) {
    std::size_t total = 0;
    for (const std::int64_t width : widths(config)) total += static_cast<std::size_t>(width);
    return total * static_cast<std::size_t>(tokens) * sizeof(float);
  }
  std::int64_t max_tokens() const { return max_tokens_; }
  Matrix q(std::int64_t tokens) const { return part(0, tokens); }
  Matrix k(std::int64_t tokens) const { return part(1, tokens); }
  Matrix v(std::int64_t tokens) const { return part(2, tokens); }
  Matrix attended(std::int64_t tokens) const { return part(3, tokens); }
  Matrix gate(std::int64_t tokens) const { return part(4, tokens); }
  Matrix up(std::int64_t tokens) const { return part(5, tokens); }

 private:
  static std::array<std::int64_t, 6> widths(const ModelConfig& c) {
    return {query_size(c), kv_size(c), kv_size(c), query_size(c), c.intermediate_size, c.intermediate_size};
  }
  Matrix part(std::size_t index, std::int64_t tokens) const {
    return {starts_[index], tokens, widths_[index]};
  }

  std::int64_t max_tokens_;
  Buffer buffer_;
  std::array<float*, 6> starts_{};
  std::array<std::int64_t, 6> widths_{};
};

class Llama final : public Model {
 public:
  Llama(const ModelConfig& config, WeightSource& source, Backend& backend, std::int64_t max_tokens,
        const ModelParts& parts)
      : config_(config),
        backend_(backend),
        inverse_frequency_(rope_inverse_frequency(config)),
        workspace_(backend, config, max_tokens),
        first_layer_(parts.first_layer) {
    if (parts.embedding)
      embed_tokens_ = load_group(source, {kEmbeddingModule}, {config.vocab_size}, config.hidden_size);
    const std::int64_t layers = parts.layers < 0 ? config.num_hidden_layers - first_layer_ : parts.layers;
    for (std::int64_t l = 0; l < layers; ++l) blocks_.push_back(load_block(source, first_layer_ + l));
    if (parts.head) {
      norm_ = load_norm(source, kFinalNorm, config.hidden_size);
      lm_head_ = load_group(source, {kHeadModule}, {config.vocab_size}, config.hidden_size);
    }
  }

  const ModelConfig& config() const override { return config_; }

  void embed(Matrix x, std::span<const std::int32_t> ids) override {
    for (const std::int32_t id : ids) {
      if (id < 0 || id >= config_.vocab_size) {
        throw std::invalid_argument(
            fmt::format("token id {} is outside the vocabulary of {}", id, config_.vocab_size));
      }
    }
    backend_.embed(x, embed_tokens_.members.at(0), ids);
  }

  void block(std::int64_t index, Matrix x, const KvLayer& cache, std::int64_t first) override {
    const LlamaBlock& layer = blocks_.at(static_cast<std::size_t>(index - first_layer_));
    check_room(x.rows, cache, first);
    const Matrix q = workspace_.q(x.rows);
    const Matrix k = workspace_.k(x.rows);
    const Matrix v = workspace_.v(x.rows);
    const Matrix a = workspace_.attended(x.rows);
    const Matrix gate = workspace_.gate(x.rows);
    const Matrix up = workspace_.up(x.rows);

    backend_.linear_group(std::array{q, k, v}, layer.qkv, x, &layer.input_layernorm);
    if (layer.q_norm) backend_.rms_norm(q, q, *layer.q_norm);
    if (layer.k_norm) backend_.rms_norm(k, k, *layer.k_norm);
    backend_.rope_append(q, k, v, {inverse_frequency_}, cache, first);
    backend_.attention(a, q, cache, first, attention_shape());
    backend_.linear_add(x, layer.o_proj, a);
    backend_.linear_group(std::array{gate, up}, layer.gate_up, x, &layer.post_attention_layernorm);
    backend_.swiglu(gate, gate, up);
    backend_.linear_add(x, layer.down_proj, gate);
  }

  void head(Matrix logits, Matrix x) override {
    backend_.linear_group(std::array{logits}, lm_head_, x, &norm_);
  }

  std::size_t bytes_per_token() const override {
    std::size_t total = lm_head_.bytes() + norm_.weight.size_bytes();
    if (!embed_tokens_.members.empty())
      total += embed_tokens_.bytes() / static_cast<std::size_t>(config_.vocab_size);
    for (const LlamaBlock& b : blocks_) {
      total += b.qkv.bytes() + b.o_proj.bytes() + b.gate_up.bytes() + b.down_proj.bytes();
      total += b.input_layernorm.weight.size_bytes() + b.post_attention_layernorm.weight.size_bytes();
    }
    return total;
  }

 private:
  LinearGroup load_group(WeightSource& source, const std::vector<std::string>& modules,
                         const std::vector<std::int64_t>& m, std::int64_t n) {
    return backend_.place(source.linear_group(modules, m, n));
  }

  Norm load_norm(WeightSource& source, const std::string& name, std::int64_t size) {
    return backend_.place(Norm{source.vector(name, size), static_cast<float>(config_.rms_norm_eps)});
  }

  LlamaBlock load_block(WeightSource& source, std::int64_t layer) {
    const std::string prefix = block_prefix(layer);
    LlamaBlock block;
    std::array<LinearGroup*, 4> groups{&block.qkv, &block.o_proj, &block.gate_up, &block.down_proj};
    const auto specs = llama_block_linears(config_, layer);
    for (std::size_t i = 0; i < groups.size(); ++i) {
      *groups[i] = load_group(source, specs[i].modules, specs[i].m, specs[i].n);
    }
    block.input_layernorm = load_norm(source, prefix + "input_layernorm.weight", config_.hidden_size);
    block.post_attention_layernorm =
        load_norm(source, prefix + "post_attention_layernorm.weight", config_.hidden_size);
    if (config_.qk_norm) {
      block.q_norm = load_norm(source, prefix + "self_attn.q_norm.weight", config_.head_dim);
      block.k_norm = load_norm(source, prefix + "self_attn.k_norm.weight", config_.head_dim);
    }
    return block;
  }

  AttentionShape attention_shape() const {
    return {config_.num_attention_heads, config_.head_dim,
            1.0F / std::sqrt(static_cast<float>(config_.head_dim)), config_.sliding_window};
  }

  void check_room(std::int64_t tokens, const KvLayer& cache, std::int64_t first) const {
    if (tokens > workspace_.max_tokens() || first < 0 || tokens > cache.capacity - first) {
      throw std::out_of_range(
          fmt::format("{} tokens at position {}: the model takes {} at once, the cache holds {}", tokens,
                      first, workspace_.max_tokens(), cache.capacity));
    }
  }

  ModelConfig config_;
  Backend& backend_;
  std::vector<float> inverse_frequency_;
  Workspace workspace_;
  std::int64_t first_layer_;
  LinearGroup embed_tokens_;  // (vocab_size, hidden_size)
  std::vector<LlamaBlock> blocks_;
  Norm norm_;            // (hidden_size)
  LinearGroup lm_head_;  // (vocab_size, hidden_size)
};

}  // namespace

std::unique_ptr<Model> make_llama(const ModelConfig& config, WeightSource& source, Backend& backend,
                                  std::int64_t max_tokens, const ModelParts& parts) {
  return std::make_unique<Llama>(config, source, backend, max_tokens, parts);
}

std::size_t llama_workspace_bytes(const ModelConfig& config, std::int64_t tokens) {
  return Workspace::bytes(config, tokens);
}

std::vector<LinearGroupSpec> llama_block_linears(const ModelConfig& config, std::int64_t layer) {
  const std::string attention = block_prefix(layer) + "self_attn.";
  const std::string mlp = block_prefix(layer) + "mlp.";
  return {{{attention + "q_proj", attention + "k_proj", attention + "v_proj"},
           {query_size(config), kv_size(config), kv_size(config)},
           config.hidden_size},
          {{attention + "o_proj"}, {config.hidden_size}, query_size(config)},
          {{mlp + "gate_proj", mlp + "up_proj"},
           {config.intermediate_size, config.intermediate_size},
           config.hidden_size},
          {{mlp + "down_proj"}, {config.hidden_size}, config.intermediate_size}};
}

std::vector<std::string> llama_block_vectors(const ModelConfig& config, std::int64_t layer) {
  const std::string prefix = block_prefix(layer);
  std::vector<std::string> names{prefix + "input_layernorm.weight",
                                 prefix + "post_attention_layernorm.weight"};
  if (config.qk_norm) {
    names.push_back(prefix + "self_attn.q_norm.weight");
    names.push_back(prefix + "self_attn.k_norm.weight");
  }
  const bool llama = config.model_type == "llama";
  if (config.attention_bias) {
    for (const char* module : {"q_proj", "k_proj", "v_proj"})
      names.push_back(prefix + "self_attn." + module + ".bias");
    // Qwen2's attention_bias leaves o_proj without one.
    if (config.model_type != "qwen2") names.push_back(prefix + "self_attn.o_proj.bias");
  }
  if (config.mlp_bias && llama) {
    for (const char* module : {"gate_proj", "up_proj", "down_proj"})
      names.push_back(prefix + "mlp." + module + ".bias");
  }
  return names;
}

}  // namespace spqr
