// A session's sequence with its keys and values as a file, so that a later session need not evaluate it
// again. A safetensors file: "ids" I32 (tokens), and for each block N "blocks.N.k" and "blocks.N.v"
// (kv_heads, tokens, head_dim), F16 or F32 as cached, or (kv_heads, tokens, bytes of a row) U8 for q8_0;
// metadata: format, version, the model's checksum, and one per tensor.
#pragma once

#include <filesystem>

#include "runtime/session.h"

namespace spqr {

// Replaces the file, which only its owner can read, when all of it is written. Throws std::runtime_error
// naming it.
void save_prompt_cache(Session& session, const std::filesystem::path& path);

// The session's sequence becomes the file's, as far as its context reaches. Throws std::runtime_error naming
// the file where it is damaged, of another model, or of a cache of another type; the session is then empty.
void load_prompt_cache(Session& session, const std::filesystem::path& path);

}  // namespace spqr
