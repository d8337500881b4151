#include "models/decoder.h"

#include <fmt/format.h>

#include <cmath>
#include <stdexcept>

namespace spqr {

Decoder::Decoder(const ModelConfig& config, WeightSource& source, Backend& backend, std::int64_t max_tokens,
                 const ModelParts& parts)
    : config_(config), backend_(backend), max_tokens_(max_tokens), parts_(parts) {
  if (parts.embedding || (parts.head && config.tie_word_embeddings)) load_embedding(source);
  if (parts.head) load_head(source);
}

void Decoder::embed(Matrix x, std::span<const std::int32_t> ids) {
  if (embed_tokens_.members.empty()) throw std::logic_error("this model was made without its embedding");
  check_hidden(x);
  if (x.rows != static_cast<std::int64_t>(ids.size())) {
    throw std::invalid_argument(fmt::format("{} ids for {} tokens", ids.size(), x.rows));
  }
  check_ids(ids, config_);
  backend_.embed(x, embed_tokens_.members.front(), ids);
}

void Decoder::block(std::int64_t layer, Matrix x, std::span<const Segment> segments) {
  if (layer < parts_.first_layer || layer - parts_.first_layer >= parts_.layers) {
    throw std::logic_error(fmt::format("this model was made without block {}", layer));
  }
  check_hidden(x);
  check_segments(x, segments);
  forward(static_cast<std::size_t>(layer - parts_.first_layer), x, segments);
}

void Decoder::attend(Matrix a, Matrix q, Matrix k, Matrix v, const Rope& rope,
                     std::span<const Segment> segments, const AttentionShape& shape) {
  std::int64_t row = 0;
  for (const Segment& segment : segments) {
    const auto rows = [&](Matrix of) { return Matrix{of.data + row * of.cols, segment.tokens, of.cols}; };
    backend_.rope_append(rows(q), rows(k), rows(v), rope, segment.cache, segment.first);
    backend_.attention(rows(a), rows(q), segment.cache, segment.first, shape);
    row += segment.tokens;
  }
}

void Decoder::head(Matrix logits, Matrix x) {
  if (norm_.weight.empty()) throw std::logic_error("this model was made without its head");
  check_hidden(x);
  if (logits.rows != x.rows || logits.cols != config_.vocab_size) {
    throw std::invalid_argument(fmt::format("logits are ({}, {}), expected ({}, {})", logits.rows,
                                            logits.cols, x.rows, config_.vocab_size));
  }
  backend_.linear_group({&logits, 1}, lm_head(), x, &norm_);
}

std::size_t Decoder::bytes_per_token() const {
  std::size_t total = block_bytes();
  if (!embed_tokens_.members.empty()) {
    total += embed_tokens_.bytes() / static_cast<std::size_t>(config_.vocab_size);  // one row
  }
  if (!norm_.weight.empty()) total += norm_.bytes() + lm_head().bytes();
  return total;
}

void Decoder::check_hidden(Matrix x) const {
  if (x.rows < 1 || x.rows > max_tokens_ || x.cols != config_.hidden_size) {
    throw std::invalid_argument(fmt::format("activations are ({}, {}), expected 1 to {} tokens of {}", x.rows,
                                            x.cols, max_tokens_, config_.hidden_size));
  }
}

void Decoder::check_segments(Matrix x, std::span<const Segment> segments) const {
  std::int64_t rows = 0;
  for (const Segment& segment : segments) {
    const bool fits =
        segment.tokens >= 1 && segment.first >= 0 && segment.first <= segment.cache.capacity - segment.tokens;
    if (!fits) {
      throw std::invalid_argument(fmt::format("{} tokens from position {} do not fit into a KV cache for {}",
                                              segment.tokens, segment.first, segment.cache.capacity));
    }
    rows += segment.tokens;
  }
  if (rows != x.rows)
    throw std::invalid_argument(fmt::format("segments of {} tokens for {} rows", rows, x.rows));
}

LinearGroup Decoder::load_group(WeightSource& source, const LinearGroupSpec& spec, bool bias) {
  const LinearGroup group = source.linear_group(spec.modules, spec.m, spec.n);
  for (std::size_t i = 0; i < group.members.size(); ++i) {
    if (group.members[i].bias.empty() == bias) {
      throw std::runtime_error(fmt::format("{} has {} bias, but its configuration asks for {}",
                                           spec.modules[i], bias ? "no" : "a", bias ? "one" : "none"));
    }
  }
  return backend_.place(group);
}

Norm Decoder::load_norm(WeightSource& source, const std::string& module, std::int64_t size) {
  return backend_.place(read_norm(config_, source, module, size));
}

void Decoder::load_embedding(WeightSource& source) {
  const std::string name = embedding_module(config_);
  embed_tokens_ = load_group(source, {{name}, {config_.vocab_size}, config_.hidden_size}, false);
  if (!embed_tokens_.perm.empty()) {
    throw std::runtime_error(
        fmt::format("the columns of {} are permuted, which those of an embedding cannot be", name));
  }
}

void Decoder::load_head(WeightSource& source) {
  norm_ = load_norm(source, final_norm_module(config_), config_.hidden_size);
  if (config_.tie_word_embeddings) return;
  lm_head_ = load_group(source, {{kHeadModule}, {config_.vocab_size}, config_.hidden_size}, false);
}

AttentionShape Decoder::attention_shape() const {
  return {.heads = config_.num_attention_heads,
          .head_dim = config_.head_dim,
          .scale = static_cast<float>(1 / std::sqrt(static_cast<double>(config_.head_dim))),
          .sliding_window = config_.sliding_window};
}

std::int64_t query_size(const ModelConfig& config) {
  return config.num_attention_heads * config.head_dim;
}

std::int64_t kv_size(const ModelConfig& config) {
  return config.num_key_value_heads * config.head_dim;
}

std::size_t matrices_bytes(std::span<const std::int64_t> widths, std::int64_t tokens) {
  std::size_t values = 0;
  bool fits = tokens >= 0;
  for (const std::int64_t width : widths) {
    fits = fits && !__builtin_add_overflow(values, static_cast<std::size_t>(width), &values);
  }
  std::size_t bytes = 0;
  fits = fits && !__builtin_mul_overflow(values, static_cast<std::size_t>(tokens), &bytes) &&
         !__builtin_mul_overflow(bytes, sizeof(float), &bytes);
  if (!fits)
    throw std::invalid_argument(fmt::format("{} tokens at once are more than any memory holds", tokens));
  return bytes;
}

void cut_matrices(const Buffer& buffer, std::span<Matrix* const> matrices,
                  std::span<const std::int64_t> widths, std::int64_t tokens) {
  auto* next = static_cast<float*>(buffer.data());
  for (std::size_t i = 0; i < matrices.size(); ++i) {
    *matrices[i] = {next, tokens, widths[i]};
    next += tokens * widths[i];
  }
}

}  // namespace spqr
