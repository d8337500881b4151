// Memory and disk that a quantization will take, known before it starts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>

#include "kernels/backend.h"
#include "models/config.h"
#include "runtime/quantize_pipeline.h"

namespace spqr {

struct QuantizePlan {
  std::size_t weights = 0;      // of one block, f32, and of the largest matrix while it is solved
  std::size_t statistics = 0;   // second moments of one block's inputs, and of the one being factored
  std::size_t activations = 0;  // of all sequences
  std::size_t workspace = 0;    // of passing one sequence through a block
  std::size_t tables = 0;       // the embedding, f32 and as stored
  std::size_t file = 0;         // the result, roughly
  std::size_t header = 0;       // of it, likewise, where it is a .spqr file
  std::size_t store = 0;        // statistics kept on disk by --target-bits
  bool activations_on_disk = false;

  std::size_t memory() const;
  std::size_t disk() const;
};

// sequences of at most `length` tokens, `tokens` in all; 0 where the scheme needs no calibration.
QuantizePlan plan_quantization(const ModelConfig& config, const QuantizeSettings& settings,
                               const Backend& backend, std::int64_t tokens, std::int64_t length);

// Of taking over a checkpoint that has this format already. table_size: bytes of an element of its embedding.
QuantizePlan plan_import(const ModelConfig& config, const SpqrFormat& format, std::size_t table_size);

// Of random weights.
QuantizePlan plan_synthetic(const ModelConfig& config, const QuantizeSettings& settings);

// The tokenizer goes into the file as it is.
void add_tokenizer(QuantizePlan& plan, const TokenizerFiles& files);

std::string describe(const QuantizePlan& plan);

// Throws std::runtime_error with the numbers where memory or disk at `out` will not do. What an interrupted
// run left there counts as room: it is gone on with, or replaced.
void require_room(const QuantizePlan& plan, const std::filesystem::path& out);

}  // namespace spqr
