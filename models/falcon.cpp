#include "models/falcon.h"

#include <fmt/format.h>

#include <array>
#include <stdexcept>

#include "models/alibi.h"
#include "models/decoder.h"

namespace spqr {
namespace {

// The MLP reads what attention reads.
bool shares_norm(const ModelConfig& c) {
  return c.parallel_attn && c.num_ln_in_parallel_attn == 1;
}

// Names of the norms of a block: of attention and, where it has its own, of the MLP.
std::vector<std::string> norms(const ModelConfig& c, std::int64_t layer) {
  const std::string prefix = fmt::format("transformer.h.{}.", layer);
  if (shares_norm(c)) return {prefix + "input_layernorm"};
  if (c.parallel_attn) return {prefix + "ln_attn", prefix + "ln_mlp"};
  return {prefix + "input_layernorm", prefix + "post_attention_layernorm"};
}

struct FalconBlock {
  Norm ln_attn;               // (hidden_size)
  LinearGroup qkv;            // q_proj (query_size, hidden_size); k_proj, v_proj (kv_size, hidden_size); and
                              // dense_h_to_4h where it reads the same norm
  Norm ln_mlp;                // (hidden_size), empty there
  LinearGroup dense_h_to_4h;  // (intermediate_size, hidden_size), empty there
  LinearGroup dense;          // (hidden_size, query_size)
  LinearGroup dense_4h_to_h;  // (hidden_size, intermediate_size)

  std::size_t bytes() const {
    return ln_attn.bytes() + qkv.bytes() + ln_mlp.bytes() + dense_h_to_4h.bytes() + dense.bytes() +
           dense_4h_to_h.bytes();
  }
};

// What a block writes on its way, a row per token, all in one buffer.
struct Workspace {
  Matrix q, a;  // (tokens, query_size)
  Matrix k, v;  // (tokens, kv_size)
  Matrix h;     // (tokens, intermediate_size)

  static std::array<std::int64_t, 5> widths(const ModelConfig& c) {
    return {query_size(c), query_size(c), kv_size(c), kv_size(c), c.intermediate_size};
  }
  Workspace(const Buffer& buffer, const ModelConfig& config, std::int64_t tokens) {
    cut_matrices(buffer, std::array{&q, &a, &k, &v, &h}, widths(config), tokens);
  }
};

std::size_t alibi_bytes(const ModelConfig& c) {
  if (!c.alibi) return 0;
  return static_cast<std::size_t>(c.num_attention_heads * c.max_position_embeddings) * sizeof(float);
}

class Falcon final : public Decoder {
 public:
  Falcon(const ModelConfig& config, WeightSource& source, Backend& backend, std::int64_t max_tokens,
         const ModelParts& parts)
      : Decoder(config, source, backend, max_tokens, parts) {
    for (std::int64_t l = 0; l < parts.layers; ++l)
      blocks_.push_back(load_block(source, parts.first_layer + l));
    if (blocks_.empty()) return;
    memory_ = backend.allocate(matrices_bytes(Workspace::widths(config), max_tokens));
    if (config.alibi) {
      load_alibi();
    } else {
      inverse_frequency_ = rope_inverse_frequency(config);
      rope_ = backend.place(Rope{inverse_frequency_});
    }
  }

 private:
  // x (tokens, hidden_size), updated in place. In parallel, both sums are of the x that came in: the MLP's
  // first linear has read it before attention is added.
  void forward(std::size_t index, Matrix x, std::span<const Segment> segments) override {
    for (const Segment& segment : segments) check_position(segment.first + segment.tokens);
    const FalconBlock& layer = blocks_[index];
    const auto [q, a, k, v, h] = Workspace(memory_, config(), x.rows);

    if (shares_norm(config())) {
      backend().linear_group(std::array{q, k, v, h}, layer.qkv, x, &layer.ln_attn);
    } else {
      backend().linear_group(std::array{q, k, v}, layer.qkv, x, &layer.ln_attn);
      if (config().parallel_attn)
        backend().linear_group(std::array{h}, layer.dense_h_to_4h, x, &layer.ln_mlp);
    }
    attend(a, q, k, v, rope_, segments, attention_shape());
    backend().linear_add(x, layer.dense, a);

    if (!config().parallel_attn) backend().linear_group(std::array{h}, layer.dense_h_to_4h, x, &layer.ln_mlp);
    backend().gelu(h, h);
    backend().linear_add(x, layer.dense_4h_to_h, h);
  }

  AttentionShape attention_shape() const {
    AttentionShape shape = Decoder::attention_shape();
    if (config().alibi) shape.alibi = alibi_.matrix(shape.heads, config().max_position_embeddings);
    return shape;
  }

  void check_position(std::int64_t end) const {
    if (config().alibi && end > config().max_position_embeddings) {
      throw std::invalid_argument(fmt::format("position {} is beyond the {} that the model has", end - 1,
                                              config().max_position_embeddings));
    }
  }

  std::size_t block_bytes() const override {
    std::size_t total = 0;
    for (const FalconBlock& block : blocks_) total += block.bytes();
    return total;
  }

  FalconBlock load_block(WeightSource& source, std::int64_t layer) {
    const ModelConfig& c = config();
    const std::vector<std::string> names = norms(c, layer);
    const std::vector<LinearGroupSpec> linears = falcon_block_linears(c, layer);
    FalconBlock block;
    block.ln_attn = load_norm(source, names.front(), c.hidden_size);
    block.qkv = load_group(source, linears.front(), c.attention_bias);
    if (!shares_norm(c)) {
      block.ln_mlp = load_norm(source, names.back(), c.hidden_size);
      block.dense_h_to_4h = load_group(source, linears[c.parallel_attn ? 1 : 2], c.mlp_bias);
    }
    block.dense = load_group(source, linears[c.parallel_attn && !shares_norm(c) ? 2 : 1], c.attention_bias);
    block.dense_4h_to_h = load_group(source, linears.back(), c.mlp_bias);
    return block;
  }

  void load_alibi() {
    const ModelConfig& c = config();
    const std::vector<float> table =
        falcon_alibi(c.num_attention_heads, c.head_dim, c.max_position_embeddings);
    alibi_ = backend().allocate(alibi_bytes(c));
    backend().upload(alibi_.data(), table.data(), alibi_.bytes());
  }

  std::vector<float> inverse_frequency_;  // (head_dim / 2); empty with ALiBi
  Rope rope_;                             // of these, in the backend's memory
  Buffer alibi_;                          // (num_attention_heads, max_position_embeddings)
  std::vector<FalconBlock> blocks_;
  Buffer memory_;  // of the Workspace
};

}  // namespace

std::unique_ptr<Model> make_falcon(const ModelConfig& config, WeightSource& source, Backend& backend,
                                   std::int64_t max_tokens, const ModelParts& parts) {
  return std::make_unique<Falcon>(config, source, backend, max_tokens, parts);
}

std::size_t falcon_workspace_bytes(const ModelConfig& config, std::int64_t tokens) {
  return matrices_bytes(Workspace::widths(config), tokens) + alibi_bytes(config);
}

std::vector<LinearGroupSpec> falcon_block_linears(const ModelConfig& config, std::int64_t layer) {
  const std::int64_t hidden = config.hidden_size;
  const std::int64_t intermediate = config.intermediate_size;
  const std::string attention = fmt::format("transformer.h.{}.self_attention.", layer);
  const std::string mlp = fmt::format("transformer.h.{}.mlp.", layer);
  LinearGroupSpec qkv{{attention + "q_proj", attention + "k_proj", attention + "v_proj"},
                      {query_size(config), kv_size(config), kv_size(config)},
                      hidden};
  const LinearGroupSpec up{{mlp + "dense_h_to_4h"}, {intermediate}, hidden};
  const LinearGroupSpec dense{{attention + "dense"}, {hidden}, query_size(config)};
  const LinearGroupSpec down{{mlp + "dense_4h_to_h"}, {hidden}, intermediate};
  if (shares_norm(config)) {
    qkv.modules.push_back(up.modules.front());
    qkv.m.push_back(up.m.front());
    return {qkv, dense, down};
  }
  if (config.parallel_attn) return {qkv, up, dense, down};
  return {qkv, dense, up, down};
}

std::vector<std::string> falcon_block_vectors(const ModelConfig& config, std::int64_t layer) {
  std::vector<std::string> names;
  for (const std::string& norm : norms(config, layer)) {
    for (const std::string& vector : norm_vectors(config, norm)) names.push_back(vector);
  }
  for (const LinearGroupSpec& group : falcon_block_linears(config, layer)) {
    for (const std::string& module : group.modules) {
      if (config.mlp_bias) names.push_back(module + ".bias");
    }
  }
  return names;
}

}  // namespace spqr
