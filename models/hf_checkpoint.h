// A Hugging Face directory: config.json, weights, and the tokenizer's files. The weights are
// model.safetensors or its shards, or else pytorch_model.bin or its shards.
#pragma once

#include <filesystem>
#include <memory>

#include "models/checkpoint.h"

namespace spqr {

// Reads the configuration and validates all headers. Weights are F32, F16 or BF16; a tied embedding appears
// under both of its names whichever is stored. Throws std::runtime_error naming file and tensor.
std::unique_ptr<Checkpoint> open_hf_checkpoint(const std::filesystem::path& directory,
                                               const CheckpointOptions& options);

}  // namespace spqr
