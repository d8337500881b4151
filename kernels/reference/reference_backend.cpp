#include "kernels/reference/reference_backend.h"

#include <vector>

#include "kernels/host_backend.h"
#include "kernels/reference/operations.h"

namespace spqr {
namespace {

class ReferenceBackend final : public HostBackend {
 public:
  std::string_view name() const override { return "reference"; }

  std::size_t scratch_bytes(const LargestShapes& largest) const override {
    // A normed or gathered copy of an input, and a product to add.
    return 2 * sizeof(float) * static_cast<std::size_t>(largest.tokens * largest.in_features);
  }

  void embed(Matrix x, const Linear& table, std::span<const std::int32_t> ids) override {
    reference::embed(x, table, ids);
  }

  void rms_norm(Matrix y, Matrix x, const Norm& norm) override { reference::rms_norm(y, x, norm); }

  void layer_norm(Matrix y, Matrix x, const Norm& norm) override { reference::layer_norm(y, x, norm); }

  void linear_group(std::span<const Matrix> ys, const LinearGroup& group, Matrix x,
                    const Norm* norm) override {
    std::vector<float> normed;
    if (norm != nullptr) {
      normed.resize(static_cast<std::size_t>(x.rows * x.cols));
      normalize({normed.data(), x.rows, x.cols}, x, *norm);
      x.data = normed.data();
    }
    for (std::size_t i = 0; i < ys.size(); ++i) reference::linear(ys[i], group.members[i], group.perm, x);
  }

  void linear_add(Matrix x, const LinearGroup& weight, Matrix a) override {
    std::vector<float> product(static_cast<std::size_t>(x.rows * x.cols));
    reference::linear({product.data(), x.rows, x.cols}, weight.members.front(), weight.perm, a);
    for (std::size_t i = 0; i < product.size(); ++i) x.data[i] += product[i];
  }

  void rope_append(Matrix q, Matrix k, Matrix v, const Rope& rope, const KvLayer& cache,
                   std::int64_t first) override {
    if (!rope.inverse_frequency.empty()) {
      reference::rope(q, rope, cache.head_dim, first);
      reference::rope(k, rope, cache.head_dim, first);
    }
    reference::append(cache, k, v, first);
  }

  void attention(Matrix out, Matrix q, const KvLayer& cache, std::int64_t first,
                 const AttentionShape& shape) override {
    reference::attention(out, q, cache, first, shape);
  }

  void swiglu(Matrix h, Matrix gate, Matrix up) override { reference::swiglu(h, gate, up); }

  void gelu(Matrix h, Matrix x) override { reference::gelu(h, x); }
};

}  // namespace

std::unique_ptr<Backend> make_reference_backend(const BackendOptions& /*options*/) {
  return std::make_unique<ReferenceBackend>();
}

}  // namespace spqr
