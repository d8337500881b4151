// A .spqr file back into a checkpoint that other programs read.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace spqr {

// Writes a Hugging Face directory of the weights that the file stands for: model.safetensors in f16,
// config.json and the tokenizer's files. Memory: one matrix. `out` must not exist, or be empty; it is
// complete afterwards, or as it was. Returns warnings, a sentence each. Throws std::runtime_error, also for
// weights that f16 cannot hold.
std::vector<std::string> export_hf_dense(const std::filesystem::path& file, const std::filesystem::path& out);

}  // namespace spqr
