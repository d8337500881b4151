// ALiBi: positions told apart by what is added to scores, a slope for each head.   Source: arXiv 2108.12409.
#pragma once

#include <cstdint>
#include <vector>

namespace spqr {

// What Falcon adds to the scaled scores of key p, (heads, positions): slope[h] p / sqrt(head_dim), where
// slopes, positions and their products are rounded to bf16, as where the models were trained and in
// transformers.
std::vector<float> falcon_alibi(std::int64_t heads, std::int64_t head_dim, std::int64_t positions);

}  // namespace spqr
