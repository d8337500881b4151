// Checkpoints of tied models store embedding or head, and whoever reads them asks for either.
#pragma once

#include <string>
#include <vector>

#include "models/checkpoint.h"

namespace spqr {

// Presents what `stored` (a map by name, of values with shape and dtype) has under one of the two names alone
// under the other one too.
template <typename Stored>
void tie_names(Stored& stored, std::vector<CheckpointTensor>& tensors, const std::string& one,
               const std::string& other) {
  const bool has_one = stored.contains(one);
  if (has_one == stored.contains(other)) return;
  const std::string& missing = has_one ? other : one;
  const auto& tensor = stored[missing] = stored.find(has_one ? one : other)->second;
  tensors.push_back({missing, tensor.shape, tensor.dtype});
}

}  // namespace spqr
