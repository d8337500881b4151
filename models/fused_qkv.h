// Falcon's checkpoints store the projections of queries, keys and values as one matrix, query_key_value. This
// presents its rows as q_proj, k_proj and v_proj, so that everything behind the checkpoint (model, quantizer,
// .spqr file) has one kind of attention. docs/design/falcon.md says why, and what it means for quantization.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "models/checkpoint.h"
#include "models/config.h"

namespace spqr {

// Order of the rows of query_key_value, in units of a head's.
enum class QkvOrder : std::uint8_t {
  by_kv_head,  // Hugging Face: for each key and value head the queries that share it, the key, the value
  by_kind      // GGUF: all queries, all keys, all values
};

// A projection as a part of the matrix query_key_value.
struct QkvPart {
  std::string fused;                // its name, with what stands around q_proj, k_proj or v_proj
  std::int64_t fused_heads = 0;     // of head_dim rows each
  std::vector<std::int64_t> heads;  // where the projection's heads are among them
};

// Of the tensor or module `name` ("transformer.h.0.self_attention.k_proj"); nullopt where it is no such
// projection or the configuration is not Falcon's.
std::optional<QkvPart> qkv_part(const ModelConfig& config, QkvOrder order, std::string_view name);

// `checkpoint` itself if its configuration is not Falcon's. Throws std::runtime_error where a query_key_value
// has another shape than the configuration says.
std::unique_ptr<Checkpoint> with_split_qkv(std::unique_ptr<Checkpoint> checkpoint, QkvOrder order);

}  // namespace spqr
