#include "runtime/memory_plan.h"

#include <fmt/core.h>
#include <sys/resource.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <sstream>
#include <stdexcept>

#include "models/kv_cache.h"
#include "models/model.h"
#include "runtime/control_group.h"

namespace spqr {
namespace {

constexpr std::size_t kUnlimited = std::numeric_limits<std::size_t>::max();

std::size_t system_available() {
  std::ifstream in("/proc/meminfo");
  for (std::string line; std::getline(in, line);) {
    std::istringstream fields(line);
    std::string name;
    std::size_t kib = 0;
    if (fields >> name >> kib && name == "MemAvailable:") return kib * 1024;
  }
  return kUnlimited;
}

std::size_t address_space_available() {
  rlimit limit = {};
  if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return kUnlimited;
  std::ifstream in("/proc/self/statm");
  std::size_t pages = 0;
  in >> pages;
  const std::size_t used = pages * 4096;
  return limit.rlim_cur > used ? limit.rlim_cur - used : 0;
}

}  // namespace

MemoryNeeds memory_needs(const ModelConfig& config, std::size_t file_bytes, const Backend& backend,
                         CacheTypes cache_types, std::int64_t batch, std::int64_t logits_tokens) {
  const auto row = static_cast<std::size_t>(config.hidden_size) * sizeof(float);
  const auto logits =
      static_cast<std::size_t>(config.vocab_size) * static_cast<std::size_t>(logits_tokens) * sizeof(float);
  MemoryNeeds needs;
  needs.weights = file_bytes;
  needs.cache_per_token = KvCache::token_bytes(config, cache_types);
  // At most this, so that each layer's keys and values begin a cache line.
  const std::size_t padding = 2 * 64 * static_cast<std::size_t>(config.num_hidden_layers);
  // Logits twice: the backend's, and a copy to choose from.
  needs.workspace = workspace_bytes(config, batch) + row * static_cast<std::size_t>(batch) + 2 * logits +
                    padding + backend.scratch_bytes(largest_shapes(config, batch));
  return needs;
}

std::size_t MemoryPlan::cache() const {
  std::size_t bytes = 0;
  return __builtin_mul_overflow(needs.cache_per_token, static_cast<std::size_t>(context), &bytes) ? kUnlimited
                                                                                                  : bytes;
}

std::size_t MemoryPlan::total() const {
  std::size_t bytes = 0;
  const bool overflow = __builtin_add_overflow(needs.weights, needs.workspace, &bytes) ||
                        __builtin_add_overflow(bytes, cache(), &bytes);
  return overflow ? kUnlimited : bytes;
}

MemoryPlan plan_memory(const MemoryNeeds& needs, std::int64_t context, std::int64_t model_maximum,
                       std::size_t available) {
  const std::size_t fixed = MemoryPlan{needs, 0}.total();
  const std::size_t room = available > fixed ? available - fixed : 0;
  const auto fits = static_cast<std::int64_t>(room / std::max<std::size_t>(needs.cache_per_token, 1));
  MemoryPlan plan{needs, context};
  if (context == 0)
    plan.context = std::max<std::int64_t>(1, std::min({model_maximum, kDefaultContext, fits}));
  if (plan.total() <= available) return plan;
  std::string advice;
  if (fits > 0) {
    advice = fmt::format("; -c {} would fit", fits);
  } else if (needs.weights < available) {
    advice = "; a smaller -b takes less workspace";
  }
  throw std::runtime_error(fmt::format(
      "too little memory: {} of weights, {} of KV cache for {} tokens and {} of workspace are {}, but {} are "
      "available{}",
      human_bytes(needs.weights), human_bytes(plan.cache()), plan.context, human_bytes(needs.workspace),
      human_bytes(plan.total()), human_bytes(available), advice));
}

std::size_t available_memory() {
  return std::min({system_available(), control_group_available(), address_space_available()});
}

std::string human_bytes(std::size_t bytes) {
  const auto value = static_cast<double>(bytes);
  if (bytes >= std::size_t{1} << 30U) return fmt::format("{:.2f} GiB", value / 0x1p30);
  if (bytes >= std::size_t{1} << 20U) return fmt::format("{:.1f} MiB", value / 0x1p20);
  return fmt::format("{:.1f} KiB", value / 0x1p10);
}

}  // namespace spqr
