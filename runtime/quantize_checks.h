// What is looked at before a checkpoint is quantized or taken over, and before anything is written.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "models/checkpoint.h"
#include "models/config.h"
#include "runtime/quantize_pipeline.h"
#include "tokenizer/tokenizer.h"

namespace spqr {

// The checkpoint's tokenizer, `where` its files come from; null: it has none. Throws std::runtime_error where
// it cannot be read, or has more tokens than the model's embedding has rows.
std::unique_ptr<Tokenizer> fitting_tokenizer(const Checkpoint& checkpoint, const ModelConfig& config,
                                             const std::filesystem::path& where);

// What a person should know of a checkpoint before it is quantized, a sentence each.
std::vector<std::string> source_warnings(const Checkpoint& checkpoint, const Tokenizer* tokenizer,
                                         const QuantizeJob& job);

// Throws std::runtime_error where `out` is a directory or the model itself.
void require_other_file(const std::filesystem::path& out, const std::filesystem::path& model);

}  // namespace spqr
