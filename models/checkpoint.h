// An unquantized (or simply quantized) model on disk, whatever its container: Hugging Face directory, Meta's
// directory, GGUF, llama2.c. Every reader presents Hugging Face's configuration and tensor names, and gives
// any tensor as f32.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/tensor.h"

namespace spqr {

// File name -> bytes, as found: tokenizer.json, tokenizer_config.json, tokenizer.model,
// special_tokens_map.json, generation_config.json, tokenizer.bin (llama2.c), chat_template.jinja;
// gguf_tokenizer.json is the tokenizer.* part of a GGUF file's metadata as one JSON object.
// tokenizer/tokenizer.h reads them.
using TokenizerFiles = std::map<std::string, std::string, std::less<>>;

struct CheckpointTensor {
  std::string name;                 // Hugging Face's
  std::vector<std::int64_t> shape;  // Hugging Face's, e.g. (out_features, in_features)
  std::string stored_as;            // F32, F16, BF16, Q8_0, ...: how it lies on disk, for reports

  bool is_quantized() const;  // not stored as a floating-point number for each element
};

class Checkpoint {
 public:
  virtual ~Checkpoint() = default;
  virtual const std::string& config_json() const = 0;
  virtual const TokenizerFiles& tokenizer_files() const = 0;  // perhaps without a vocabulary
  virtual const std::vector<CheckpointTensor>& tensors() const = 0;
  // Widens a tensor to f32. `out` has room for all its elements. Throws std::runtime_error naming file and
  // tensor.
  virtual void read(std::string_view name, float* out) const = 0;
  virtual std::string format() const = 0;  // "safetensors", "PyTorch", "GGUF", "llama2.c": for provenance
  virtual std::string where() const = 0;   // the file or directory, for messages

  const CheckpointTensor* find(std::string_view name) const;
  // These throw where there is no such tensor, or it has another shape.
  const CheckpointTensor& at(std::string_view name) const;
  void require_shape(std::string_view name, const std::vector<std::int64_t>& shape) const;
  std::vector<float> read(std::string_view name) const;
};

struct CheckpointOptions {
  std::filesystem::path
      tokenizer;  // replaces or supplies the tokenizer: a file or a directory; empty: the model's own
};

// Decides by what is at `path`: a directory with config.json or params.json, or a file's magic. Validates all
// headers; reads no weights.
std::unique_ptr<Checkpoint> open_checkpoint(const std::filesystem::path& path,
                                            const CheckpointOptions& options);

}  // namespace spqr
