#include "runtime/capture_backend.h"

#include <utility>

namespace spqr {

void CaptureBackend::watch(std::vector<SecondMoments*> inputs) {
  while (!inputs.empty() && inputs.back() == nullptr) inputs.pop_back();
  inputs_ = std::move(inputs);
  call_ = 0;
}

bool CaptureBackend::see(Matrix x) {
  if (inputs_.empty()) return false;
  if (call_ < inputs_.size() && inputs_[call_] != nullptr) inputs_[call_]->add(x.data, x.rows);
  ++call_;
  return done();
}

void CaptureBackend::linear_group(std::span<const Matrix> ys, const LinearGroup& group, Matrix x,
                                  const Norm* norm) {
  if (done()) return;
  const bool watched = !inputs_.empty() && inputs_[call_] != nullptr;
  if (watched && norm != nullptr) {
    // The norm is computed once, for the moments and for the linears.
    x = normalized(x, *norm);
    norm = nullptr;
  }
  if (!see(x)) inner().linear_group(ys, group, x, norm);
}

void CaptureBackend::linear_add(Matrix x, const LinearGroup& weight, Matrix a) {
  if (done()) return;
  if (!see(a)) inner().linear_add(x, weight, a);
}

void CaptureBackend::embed(Matrix x, const Linear& table, std::span<const std::int32_t> ids) {
  if (!done()) inner().embed(x, table, ids);
}

void CaptureBackend::rms_norm(Matrix y, Matrix x, const Norm& norm) {
  if (!done()) inner().rms_norm(y, x, norm);
}

void CaptureBackend::layer_norm(Matrix y, Matrix x, const Norm& norm) {
  if (!done()) inner().layer_norm(y, x, norm);
}

void CaptureBackend::rope_append(Matrix q, Matrix k, Matrix v, const Rope& rope, const KvLayer& cache,
                                 std::int64_t first) {
  if (!done()) inner().rope_append(q, k, v, rope, cache, first);
}

void CaptureBackend::attention(Matrix out, Matrix q, const KvLayer& cache, std::int64_t first,
                               const AttentionShape& shape) {
  if (!done()) inner().attention(out, q, cache, first, shape);
}

void CaptureBackend::swiglu(Matrix h, Matrix gate, Matrix up) {
  if (!done()) inner().swiglu(h, gate, up);
}

void CaptureBackend::gelu(Matrix h, Matrix x) {
  if (!done()) inner().gelu(h, x);
}

}  // namespace spqr
