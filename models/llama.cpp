#include "models/llama.h"

#include <fmt/format.h>

#include <array>

#include "models/decoder.h"

namespace spqr {
namespace {

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
      total += norm->bytes();
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
    cut_matrices(buffer, std::array{&q, &a, &k, &v, &gate, &up}, widths(config), tokens);
  }
};

class Llama final : public Decoder {
 public:
  Llama(const ModelConfig& config, WeightSource& source, Backend& backend, std::int64_t max_tokens,
        const ModelParts& parts)
      : Decoder(config, source, backend, max_tokens, parts),
        inverse_frequency_(rope_inverse_frequency(config)),
        rope_(backend.place(Rope{inverse_frequency_})) {
    for (std::int64_t l = 0; l < parts.layers; ++l)
      blocks_.push_back(load_block(source, parts.first_layer + l));
    if (!blocks_.empty()) memory_ = backend.allocate(llama_workspace_bytes(config, max_tokens));
  }

 private:
  // x (tokens, hidden_size), updated in place.
  void forward(std::size_t index, Matrix x, std::span<const Segment> segments) override {
    const LlamaBlock& layer = blocks_[index];
    const auto [q, a, k, v, gate, up] = Workspace(memory_, config(), x.rows);

    backend().linear_group(std::array{q, k, v}, layer.qkv, x, &layer.input_layernorm);
    if (config().qk_norm) {
      backend().rms_norm(q, q, layer.q_norm);
      backend().rms_norm(k, k, layer.k_norm);
    }
    attend(a, q, k, v, rope_, segments, attention_shape());
    backend().linear_add(x, layer.o_proj, a);

    backend().linear_group(std::array{gate, up}, layer.gate_up, x, &layer.post_attention_layernorm);
    backend().swiglu(gate, gate, up);
    backend().linear_add(x, layer.down_proj, gate);
  }

  std::size_t block_bytes() const override {
    std::size_t total = 0;
    for (const LlamaBlock& block : blocks_) total += block.bytes();
    return total;
  }

  LlamaBlock load_block(WeightSource& source, std::int64_t layer) {
    const ModelConfig& c = config();
    const std::string prefix = fmt::format("model.layers.{}.", layer);
    const std::vector<LinearGroupSpec> linears = llama_block_linears(c, layer);
    LlamaBlock block;
    block.input_layernorm = load_norm(source, prefix + "input_layernorm", c.hidden_size);
    block.qkv = load_group(source, linears[0], c.attention_bias);
    if (c.qk_norm) {
      block.q_norm = load_norm(source, prefix + "self_attn.q_norm", c.head_dim);
      block.k_norm = load_norm(source, prefix + "self_attn.k_norm", c.head_dim);
    }
    block.o_proj = load_group(source, linears[1], has_o_proj_bias(c));
    block.post_attention_layernorm = load_norm(source, prefix + "post_attention_layernorm", c.hidden_size);
    block.gate_up = load_group(source, linears[2], c.mlp_bias);
    block.down_proj = load_group(source, linears[3], c.mlp_bias);
    return block;
  }

  std::vector<float> inverse_frequency_;  // (head_dim / 2)
  Rope rope_;                             // of these, in the backend's memory
  std::vector<LlamaBlock> blocks_;
  Buffer memory_;  // of the Workspace
};

}  // namespace

std::unique_ptr<Model> make_llama(const ModelConfig& config, WeightSource& source, Backend& backend,
                                  std::int64_t max_tokens, const ModelParts& parts) {
  return std::make_unique<Llama>(config, source, backend, max_tokens, parts);
}

std::size_t llama_workspace_bytes(const ModelConfig& config, std::int64_t tokens) {
  return matrices_bytes(Workspace::widths(config), tokens);
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
