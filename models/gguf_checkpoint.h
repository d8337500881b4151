// A GGUF file as a checkpoint: its metadata as a config.json, its tensors under Hugging Face's names, q and k
// rows in Hugging Face's order. Architectures llama (LLaMA, Mistral), qwen2, qwen3. The names are those of
// gguf-py's constants.py.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "models/checkpoint.h"
#include "models/gguf.h"

namespace spqr {

std::unique_ptr<Checkpoint> open_gguf_checkpoint(const std::filesystem::path& path,
                                                 const CheckpointOptions& options);

// The same over a parsed file; `where` names it in errors.
std::unique_ptr<Checkpoint> make_gguf_checkpoint(GgufFile file, const std::string& where,
                                                 const CheckpointOptions& options);

// Its hyper-parameters as the text of a config.json. Throws std::runtime_error on what config.json cannot
// say.
std::string gguf_config_json(const GgufFile& file, const std::string& where);

}  // namespace spqr
