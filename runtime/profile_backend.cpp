#include "runtime/profile_backend.h"

#include "runtime/stopwatch.h"

namespace spqr {

void ProfileBackend::start() {
  profile_.clear();
  on_ = true;
}

Profile ProfileBackend::stop() {
  on_ = false;
  return std::exchange(profile_, {});
}

template <typename Operation>
void ProfileBackend::time(std::string_view name, const Operation& operation) {
  if (!on_) return operation();
  const Stopwatch watch(profile_[name]);
  operation();
  inner().synchronize();
}

void ProfileBackend::embed(Matrix x, const Linear& table, std::span<const std::int32_t> ids) {
  time("embed", [&] { inner().embed(x, table, ids); });
}

void ProfileBackend::rms_norm(Matrix y, Matrix x, const Norm& norm) {
  time("norm", [&] { inner().rms_norm(y, x, norm); });
}

void ProfileBackend::layer_norm(Matrix y, Matrix x, const Norm& norm) {
  time("norm", [&] { inner().layer_norm(y, x, norm); });
}

void ProfileBackend::linear_group(std::span<const Matrix> ys, const LinearGroup& group, Matrix x,
                                  const Norm* norm) {
  if (on_ && norm != nullptr) {
    time("norm", [&] { x = normalized(x, *norm); });
    norm = nullptr;
  }
  time(kProfiledLinears, [&] { inner().linear_group(ys, group, x, norm); });
}

void ProfileBackend::linear_add(Matrix x, const LinearGroup& weight, Matrix a) {
  time(kProfiledLinears, [&] { inner().linear_add(x, weight, a); });
}

void ProfileBackend::rope_append(Matrix q, Matrix k, Matrix v, const Rope& rope, const KvLayer& cache,
                                 std::int64_t first) {
  time("rope_append", [&] { inner().rope_append(q, k, v, rope, cache, first); });
}

void ProfileBackend::attention(Matrix out, Matrix q, const KvLayer& cache, std::int64_t first,
                               const AttentionShape& shape) {
  time("attention", [&] { inner().attention(out, q, cache, first, shape); });
}

void ProfileBackend::swiglu(Matrix h, Matrix gate, Matrix up) {
  time("swiglu", [&] { inner().swiglu(h, gate, up); });
}

void ProfileBackend::decode(std::int32_t id, std::int64_t first, const std::function<void()>& step) {
  on_ ? step() : inner().decode(id, first, step);  // a record of a step says nothing of its operations
}

void ProfileBackend::gelu(Matrix h, Matrix x) {
  time("gelu", [&] { inner().gelu(h, x); });
}

}  // namespace spqr
