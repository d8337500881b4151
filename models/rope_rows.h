// Two orders of the rows of q_proj and k_proj. RoPE turns pairs of rows of a head together: Meta's
// checkpoints, GGUF's llama architecture and llama2.c keep a pair in neighbouring rows (2 i, 2 i + 1),
// Hugging Face in rows i and i + head_dim / 2.
#pragma once

#include <cstdint>

namespace spqr {

// w (rows, cols), rows a multiple of head_dim, head_dim even: from neighbouring pairs to Hugging Face's
// order, in place.
void interleaved_to_half_split(float* w, std::int64_t rows, std::int64_t cols, std::int64_t head_dim);

}  // namespace spqr
