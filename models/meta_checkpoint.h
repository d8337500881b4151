// Meta's own LLaMA directories: params.json, consolidated.00.pth and further shards, tokenizer.model beside
// them or one folder up. Each shard has a part of every matrix: of rows where the model splits outputs (wq,
// wk, wv, w1, w3, output), of columns where it splits inputs (wo, w2), and the embedding by columns, or since
// LLaMA 3 by rows. Rows of wq and wk are in the order of neighbouring pairs. Source: meta-llama/llama,
// llama/model.py.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "models/checkpoint.h"
#include "models/weight_file.h"

namespace spqr {

// params.json and consolidated.00.pth, but no config.json.
bool is_meta_directory(const std::filesystem::path& directory);

// Under Hugging Face's names and in its order of rows. Throws std::runtime_error naming file and tensor.
std::unique_ptr<Checkpoint> open_meta_checkpoint(const std::filesystem::path& directory,
                                                 const CheckpointOptions& options);

// params.json as the text of a config.json. What it leaves out follows from the shapes: rows of w1 and of the
// embedding. Throws std::runtime_error naming `where`.
std::string meta_config_json(const std::string& params_json, std::int64_t intermediate_size,
                             std::int64_t vocab_size, const std::string& where);

}  // namespace spqr
