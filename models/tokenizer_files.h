// Finding a checkpoint's tokenizer files. What is in them is the tokenizer's business; here they are only
// told apart.
#pragma once

#include <filesystem>
#include <string>

#include "models/checkpoint.h"

namespace spqr {

// The whole file. Throws std::runtime_error naming it, also where it is larger than any tokenizer (256 MiB).
std::string read_small_file(const std::filesystem::path& path);

// Those of a Hugging Face directory; empty where it has none.
TokenizerFiles tokenizer_files_in(const std::filesystem::path& directory);

// A tokenizer given by the user: a directory, or a single file of any name that is recognised by what is in
// it (tokenizer.json, llama2.c's tokenizer.bin, a SentencePiece model, LLaMA 3's tokenizer.model, which
// becomes tokenizer.tiktoken). Throws std::runtime_error where it is none of these.
TokenizerFiles tokenizer_files_at(const std::filesystem::path& path);

// `own`, or what the options put in its place; generation_config.json, which is about the model, stays.
TokenizerFiles chosen_tokenizer_files(TokenizerFiles own, const CheckpointOptions& options);

}  // namespace spqr
