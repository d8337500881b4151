#include "kernels/host_backend.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/host_memory.h"

namespace spqr {

Buffer HostBackend::allocate(std::size_t bytes) {
  return {allocate_host_memory(bytes).release(), bytes, [](void* owned) { FreeHostMemory{}(owned); }};
}

void HostBackend::upload(void* destination, const void* source, std::size_t bytes) {
  if (bytes != 0) std::memcpy(destination, source, bytes);  // an empty vector's data may be null
}

void HostBackend::download(void* destination, const void* source, std::size_t bytes) {
  if (bytes != 0) std::memcpy(destination, source, bytes);
}

std::vector<TokenLogit> HostBackend::largest(Matrix logits, std::int64_t count) {
  std::vector<TokenLogit> all(static_cast<std::size_t>(logits.cols));
  for (std::int64_t i = 0; i < logits.cols; ++i)
    all[static_cast<std::size_t>(i)] = {static_cast<std::int32_t>(i), logits.data[i]};
  const auto better = [](const TokenLogit& a, const TokenLogit& b) {
    if (std::isnan(a.logit) != std::isnan(b.logit)) return std::isnan(a.logit);
    return a.logit > b.logit || (!(a.logit < b.logit) && a.id < b.id);
  };
  std::partial_sort(all.begin(), all.begin() + count, all.end(), better);
  all.resize(static_cast<std::size_t>(count));
  return all;
}

}  // namespace spqr
