// A llama2.c checkpoint: a header of integers, then all weights in a fixed order. Little-endian, nothing
// named.
//   legacy     7 x i32: dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size (negative: a head of its
//   own), seq_len;
//              then f32: tok_embeddings, attention_norm, wq, wk, wv, wo, ffn_norm, w1, w2, w3 (each for all
//              layers), norm, two tables of rotary angles (seq_len, head_dim / 2), which are skipped, and the
//              head where it is separate
//   version 2  u32 0x616b3432, i32 2, the 7 x i32 (vocab_size positive), u8 shared_classifier, i32
//   group_size, zeros up to
//              256 bytes; f32 attention_norm, ffn_norm, norm; then tok_embeddings, wq, wk, wv, wo, w1, w2, w3
//              and a separate head, each matrix as i8 values followed by an f32 scale for every group_size of
//              them
// It holds neither epsilon (1e-5) nor base frequency (10000), nor a tokenizer. Rows of wq and wk are in
// Meta's order. Source: karpathy/llama2.c, export.py (legacy_export, version2_export).
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "models/checkpoint.h"

namespace spqr {

// Throws std::runtime_error unless the header is plausible and the file has exactly the size that follows
// from it.
std::unique_ptr<Checkpoint> open_llama2c_checkpoint(const std::filesystem::path& path,
                                                    const CheckpointOptions& options);

// The same over bytes that outlive the result; `where` names them in errors.
std::unique_ptr<Checkpoint> make_llama2c_checkpoint(std::span<const std::byte> bytes,
                                                    const std::string& where,
                                                    const CheckpointOptions& options);

}  // namespace spqr
