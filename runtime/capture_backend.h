// A backend that watches: forwards to another one and accumulates second moments of the inputs of linears on
// the way. Calibration needs nothing from model files but that their linears go through the seam.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/quantize/second_moments.h"
#include "runtime/forwarding_backend.h"

namespace spqr {

// Wraps a backend in host memory. Outside of watch() .. stop() it only forwards.
class CaptureBackend final : public ForwardingBackend {
 public:
  explicit CaptureBackend(Backend& inner) : ForwardingBackend(inner) {}

  // The calls of linear_group and linear_add that follow are numbered from 0, and inputs[i], unless null,
  // receives the input of call i. After the last one that is watched operations do nothing, and so do not
  // cost anything: what they would have computed is undefined.
  void watch(std::vector<SecondMoments*> inputs);
  void stop() { inputs_.clear(); }
  // Numbers calls from 0 again: another sequence through the same block.
  void rewind() { call_ = 0; }

  void embed(Matrix x, const Linear& table, std::span<const std::int32_t> ids) override;
  void rms_norm(Matrix y, Matrix x, const Norm& norm) override;
  void layer_norm(Matrix y, Matrix x, const Norm& norm) override;
  void linear_group(std::span<const Matrix> ys, const LinearGroup& group, Matrix x,
                    const Norm* norm) override;
  void linear_add(Matrix x, const LinearGroup& weight, Matrix a) override;
  void rope_append(Matrix q, Matrix k, Matrix v, const Rope& rope, const KvLayer& cache,
                   std::int64_t first) override;
  void attention(Matrix out, Matrix q, const KvLayer& cache, std::int64_t first,
                 const AttentionShape& shape) override;
  void swiglu(Matrix h, Matrix gate, Matrix up) override;
  void gelu(Matrix h, Matrix x) override;

 private:
  bool done() const { return !inputs_.empty() && call_ >= inputs_.size(); }
  // Hands x to whom it may concern; true where nothing needs to be computed any more.
  bool see(Matrix x);

  std::vector<SecondMoments*> inputs_;  // cut behind the last that is watched
  std::size_t call_ = 0;
};

}  // namespace spqr
