#include "models/llama2c_checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "models/config.h"
#include "models/rope_rows.h"
#include "models/safetensors.h"
#include "models/stored_types.h"
#include "models/tokenizer_files.h"

namespace spqr {
namespace {

constexpr std::uint32_t kMagic = 0x616b3432;  // "24ka" in the file
constexpr std::size_t kLegacyHeaderBytes = 28;
constexpr std::size_t kVersion2HeaderBytes = 256;

struct Header {
  std::int32_t dim = 0;
  std::int32_t hidden_dim = 0;
  std::int32_t n_layers = 0;
  std::int32_t n_heads = 0;
  std::int32_t n_kv_heads = 0;
  std::int32_t vocab_size = 0;
  std::int32_t seq_len = 0;
  bool shared_classifier = false;
  std::int32_t group_size = 0;  // 0: legacy, f32
  std::size_t bytes = kLegacyHeaderBytes;
};

template <typename T>
T load(std::span<const std::byte> bytes, std::size_t offset) {
  T value{};
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

void load_dimensions(std::span<const std::byte> bytes, std::size_t offset, Header& header) {
  for (std::int32_t* field : {&header.dim, &header.hidden_dim, &header.n_layers, &header.n_heads,
                              &header.n_kv_heads, &header.vocab_size, &header.seq_len}) {
    *field = load<std::int32_t>(bytes, offset);
    offset += sizeof *field;
  }
}

Header read_header(std::span<const std::byte> bytes, const std::string& where) {
  if (bytes.size() < kLegacyHeaderBytes) {
    throw std::runtime_error(fmt::format("{}: {} bytes are too few for a model", where, bytes.size()));
  }
  Header header;
  if (load<std::uint32_t>(bytes, 0) != kMagic) {
    load_dimensions(bytes, 0, header);
    header.shared_classifier = header.vocab_size > 0;
    if (header.vocab_size < 0 && header.vocab_size != INT32_MIN) header.vocab_size = -header.vocab_size;
    return header;
  }
  const auto version = load<std::int32_t>(bytes, 4);
  if (version != 2) {
    throw std::runtime_error(fmt::format(
        "{}: a llama2.c checkpoint of version {} is not supported; supported: legacy (no version) and 2",
        where, version));
  }
  if (bytes.size() < kVersion2HeaderBytes) {
    throw std::runtime_error(fmt::format("{}: ends inside its header of {} bytes: incomplete download?",
                                         where, kVersion2HeaderBytes));
  }
  load_dimensions(bytes, 8, header);
  const auto shared = load<std::uint8_t>(bytes, 36);
  header.group_size = load<std::int32_t>(bytes, 37);
  if (shared > 1 || header.group_size <= 0) {
    throw std::runtime_error(
        fmt::format("{}: shared_classifier must be 0 or 1 and group_size above zero, found {} and {}", where,
                    shared, header.group_size));
  }
  header.shared_classifier = shared == 1;
  header.bytes = kVersion2HeaderBytes;
  return header;
}

std::string config_json_of(const Header& header) {
  nlohmann::json config = {{"model_type", "llama"},
                           {"hidden_act", "silu"},
                           {"hidden_size", header.dim},
                           {"intermediate_size", header.hidden_dim},
                           {"num_hidden_layers", header.n_layers},
                           {"num_attention_heads", header.n_heads},
                           {"num_key_value_heads", header.n_kv_heads},
                           {"vocab_size", header.vocab_size},
                           {"max_position_embeddings", header.seq_len},
                           {"rms_norm_eps", 1e-5},
                           {"rope_theta", 10000.0},
                           {"attention_bias", false},
                           {"mlp_bias", false},
                           {"tie_word_embeddings", header.shared_classifier}};
  // The ids of llama2.c's own tokenizers. A text ends at BOS too: in training the next one began there.
  config["bos_token_id"] = header.vocab_size > 2 ? nlohmann::json(1) : nlohmann::json(nullptr);
  config["eos_token_id"] = header.vocab_size > 2 ? nlohmann::json{2, 1} : nlohmann::json(nullptr);
  return config.dump(2) + "\n";
}

class Llama2cCheckpoint final : public Checkpoint {
 public:
  Llama2cCheckpoint(std::span<const std::byte> bytes, FileBytes owner, std::string where,
                    const CheckpointOptions& options)
      : owner_(std::move(owner)), where_(std::move(where)), header_(read_header(bytes, where_)) {
    config_json_ = config_json_of(header_);
    try {
      config_ = parse_config(config_json_, where_);
    } catch (const std::runtime_error& error) {
      throw std::runtime_error(fmt::format(
          "{} (neither a Hugging Face directory nor GGUF, so read as a llama2.c checkpoint)", error.what()));
    }
    left_ = bytes.subspan(header_.bytes);
    header_.group_size == 0 ? place_legacy() : place_version_2();
    if (!left_.empty()) {
      throw std::runtime_error(
          fmt::format("{}: {} bytes are left after the last tensor of a llama2.c checkpoint of {}", where_,
                      left_.size(), bytes.size()));
    }
    if (header_.shared_classifier) {
      tensors_.push_back({"lm_head.weight", tensors_[embedding_].shape, tensors_[embedding_].stored_as});
      stored_["lm_head.weight"] = stored_["model.embed_tokens.weight"];
    }
    tokenizer_files_ = chosen_tokenizer_files({}, options);
  }

  const std::string& config_json() const override { return config_json_; }
  const TokenizerFiles& tokenizer_files() const override { return tokenizer_files_; }
  const std::vector<CheckpointTensor>& tensors() const override { return tensors_; }
  std::string format() const override { return "llama2.c"; }
  std::string where() const override { return where_; }

  void read(std::string_view name, float* out) const override {
    const auto it = stored_.find(name);
    if (it == stored_.end()) throw std::runtime_error(fmt::format("{}: has no tensor {}", where_, name));
    const Stored& stored = it->second;
    if (stored.scales.empty()) {
      std::memcpy(out, stored.values.data(), stored.values.size());
    } else {
      widen_groups(stored, out);
    }
    if (name.ends_with("q_proj.weight") || name.ends_with("k_proj.weight")) {
      interleaved_to_half_split(out, stored.rows, config_.hidden_size, config_.head_dim);
    }
  }

 private:
  struct Stored {
    std::span<const std::byte> values;
    std::span<const std::byte> scales;  // empty: values are f32
    std::int64_t rows = 0;
  };

  // The next `elements` x `size` bytes.
  std::span<const std::byte> take(const std::string& name, std::int64_t elements, std::int64_t size) {
    std::int64_t bytes = 0;
    if (__builtin_mul_overflow(elements, size, &bytes) || static_cast<std::uint64_t>(bytes) > left_.size()) {
      throw std::runtime_error(fmt::format(
          "{}: ends before {}, read as a llama2.c checkpoint: not a model, or an incomplete download?",
          where_, name));
    }
    const auto taken = left_.first(static_cast<std::size_t>(bytes));
    left_ = left_.subspan(taken.size());
    return taken;
  }

  void add(const std::string& name, std::vector<std::int64_t> shape, std::string stored_as,
           const Stored& stored) {
    if (name == "model.embed_tokens.weight") embedding_ = tensors_.size();
    stored_[name] = stored;
    tensors_.push_back({name, std::move(shape), std::move(stored_as)});
  }

  void place_f32(const std::string& name, std::vector<std::int64_t> shape) {
    const std::int64_t rows = shape.front();
    const auto values = take(name, element_count(shape), sizeof(float));
    add(name, std::move(shape), "F32", {values, {}, rows});
  }

  void place_groups(const std::string& name, std::vector<std::int64_t> shape) {
    const std::int64_t rows = shape.front();
    const std::int64_t elements = element_count(shape);
    if (elements % header_.group_size != 0) {
      throw std::runtime_error(fmt::format("{}: {} elements of {} are no multiple of group_size {}", where_,
                                           elements, name, header_.group_size));
    }
    const auto values = take(name, elements, 1);
    const auto scales = take(name, elements / header_.group_size, sizeof(float));
    add(name, std::move(shape), fmt::format("I8, groups of {}", header_.group_size), {values, scales, rows});
  }

  template <typename Place>
  void for_layers(const char* module, const Place& place) {
    for (std::int64_t layer = 0; layer < config_.num_hidden_layers; ++layer) {
      place(fmt::format("model.layers.{}.{}.weight", layer, module));
    }
  }

  void place_legacy() {
    const std::int64_t dim = config_.hidden_size;
    const std::int64_t hidden = config_.intermediate_size;
    const std::int64_t kv_dim = config_.num_key_value_heads * config_.head_dim;
    const auto layers_of = [&](const char* module, const std::vector<std::int64_t>& shape) {
      for_layers(module, [&](const std::string& name) { place_f32(name, shape); });
    };
    place_f32("model.embed_tokens.weight", {config_.vocab_size, dim});
    layers_of("input_layernorm", {dim});
    layers_of("self_attn.q_proj", {dim, dim});
    layers_of("self_attn.k_proj", {kv_dim, dim});
    layers_of("self_attn.v_proj", {kv_dim, dim});
    layers_of("self_attn.o_proj", {dim, dim});
    layers_of("post_attention_layernorm", {dim});
    layers_of("mlp.gate_proj", {hidden, dim});
    layers_of("mlp.down_proj", {dim, hidden});
    layers_of("mlp.up_proj", {hidden, dim});
    place_f32("model.norm.weight", {dim});
    take("the tables of rotary angles", config_.max_position_embeddings * config_.head_dim, sizeof(float));
    if (!header_.shared_classifier) place_f32("lm_head.weight", {config_.vocab_size, dim});
  }

  void place_version_2() {
    const std::int64_t dim = config_.hidden_size;
    const std::int64_t hidden = config_.intermediate_size;
    const std::int64_t kv_dim = config_.num_key_value_heads * config_.head_dim;
    const auto layers_of = [&](const char* module, const std::vector<std::int64_t>& shape) {
      for_layers(module, [&](const std::string& name) { place_groups(name, shape); });
    };
    for (const char* norm : {"input_layernorm", "post_attention_layernorm"}) {
      for_layers(norm, [&](const std::string& name) { place_f32(name, {dim}); });
    }
    place_f32("model.norm.weight", {dim});
    place_groups("model.embed_tokens.weight", {config_.vocab_size, dim});
    layers_of("self_attn.q_proj", {dim, dim});
    layers_of("self_attn.k_proj", {kv_dim, dim});
    layers_of("self_attn.v_proj", {kv_dim, dim});
    layers_of("self_attn.o_proj", {dim, dim});
    layers_of("mlp.gate_proj", {hidden, dim});
    layers_of("mlp.down_proj", {dim, hidden});
    layers_of("mlp.up_proj", {hidden, dim});
    if (!header_.shared_classifier) place_groups("lm_head.weight", {config_.vocab_size, dim});
  }

  void widen_groups(const Stored& stored, float* out) const {
    const auto group = static_cast<std::size_t>(header_.group_size);
    for (std::size_t g = 0; g * group < stored.values.size(); ++g) {
      const auto scale = load<float>(stored.scales, g * sizeof(float));
      const std::byte* values = stored.values.data() + g * group;
      float* widened = out + g * group;
      for (std::size_t i = 0; i < group; ++i) {
        widened[i] = static_cast<float>(static_cast<std::int8_t>(values[i])) * scale;
      }
    }
  }

  FileBytes owner_;
  std::string where_;
  Header header_;
  std::string config_json_;
  ModelConfig config_;
  std::span<const std::byte> left_;  // while the tensors are being placed: what none has taken yet
  TokenizerFiles tokenizer_files_;
  std::vector<CheckpointTensor> tensors_;
  std::size_t embedding_ = 0;
  std::map<std::string, Stored, std::less<>> stored_;
};

}  // namespace

std::unique_ptr<Checkpoint> open_llama2c_checkpoint(const std::filesystem::path& path,
                                                    const CheckpointOptions& options) {
  FileBytes owner = FileBytes::map(path);
  const auto bytes = owner.bytes();
  return std::make_unique<Llama2cCheckpoint>(bytes, std::move(owner), path.string(), options);
}

std::unique_ptr<Checkpoint> make_llama2c_checkpoint(std::span<const std::byte> bytes,
                                                    const std::string& where,
                                                    const CheckpointOptions& options) {
  return std::make_unique<Llama2cCheckpoint>(bytes, FileBytes{}, where, options);
}

}  // namespace spqr
