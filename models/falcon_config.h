// Falcon's part of config.json.
#pragma once

#include "models/config.h"
#include "models/config_members.h"

namespace spqr {

// Everything but RoPE and special tokens. Understands the names of 2023 too (model_type RefinedWeb and
// RefinedWebModel: n_head, n_head_kv, n_layer, n_embed).
void read_falcon(const Members& members, ModelConfig& config);

}  // namespace spqr
