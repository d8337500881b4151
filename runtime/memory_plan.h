// What running a model takes, computed from headers before anything large is read or allocated.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "kernels/backend.h"
#include "models/config.h"
#include "models/kv_cache.h"

namespace spqr {

// Tokens of KV cache where nobody asks for another number, at most.
inline constexpr std::int64_t kDefaultContext = 4096;

struct MemoryNeeds {
  std::size_t weights = 0;          // bytes of the model file: mapped weights have to stay in memory too
  std::size_t cache_per_token = 0;  // of the KV cache
  std::size_t workspace = 0;        // activations, logits, and what the backend's threads write on their way
};

struct MemoryPlan {
  MemoryNeeds needs;
  std::int64_t context = 0;
  // Bytes; the largest number where they are more.
  std::size_t cache() const;
  std::size_t total() const;
};

// batch: tokens that one forward pass takes; logits_tokens: those whose logits are wanted at once.
MemoryNeeds memory_needs(const ModelConfig& config, std::size_t file_bytes, const Backend& backend,
                         CacheTypes cache_types, std::int64_t batch, std::int64_t logits_tokens);

// context > 0: exactly that; 0: the smallest of the model's maximum, 4096 and what fits. Throws
// std::runtime_error with the numbers where `available` bytes are too few (also for one token).
MemoryPlan plan_memory(const MemoryNeeds& needs, std::int64_t context, std::int64_t model_maximum,
                       std::size_t available);

// Bytes this process can still use: the least of the system's available memory, its control group's and its
// own limits.
std::size_t available_memory();

// "3.2 GiB", "512.0 MiB"
std::string human_bytes(std::size_t bytes);

}  // namespace spqr
