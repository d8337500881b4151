#include "kernels/cpu/cpu_backend.h"

#include <algorithm>

#include "kernels/cpu/operations.h"
#include "kernels/host_backend.h"
#include "kernels/threads.h"

namespace spqr {
namespace {

Matrix matrix(Growing<float>& memory, std::int64_t rows, std::int64_t cols) {
  return {grown(memory, rows * cols), rows, cols};
}

// y[t][j] = x[t][perm[j]]
void gather(Matrix y, Matrix x, std::span<const std::uint32_t> perm) {
  const auto gather_token = [&](std::int64_t t) {
    const float* in = x.data + t * x.cols;
    float* out = y.data + t * y.cols;
    for (std::size_t j = 0; j < perm.size(); ++j) out[j] = in[perm[j]];
  };
  parallel_for(x.rows, gather_token, x.rows > 1);
}

// Every operation begins with use_threads(): their number belongs to the calling thread, and other backends
// may have set theirs.
class CpuBackend final : public HostBackend {
 public:
  explicit CpuBackend(const BackendOptions& options)
      : threads_(options.threads > 0 ? options.threads : available_cores()),
        activations_(options.activations),
        kernels_(kernel_tables(isa_of(options.isa))),
        memory_(threads_) {
    if (kernels_.strips.multiply_int16 == nullptr) activations_ = ActivationType::f32;
  }

  std::string_view name() const override { return "cpu"; }

  std::size_t scratch_bytes(const LargestShapes& largest) const override {
    const std::int64_t per_thread = std::max(
        cpu::linear_floats(kernels_, largest.in_features, largest.tokens), cpu::attention_floats(largest));
    const std::int64_t shared =
        2 * largest.tokens * largest.in_features +  // normed, and in another order
        cpu::LinearInputs::most_floats(kernels_, largest.in_features, largest.tokens) +
        cpu::attention_shared_floats(largest);
    return sizeof(float) * static_cast<std::size_t>(threads_ * per_thread + shared);
  }

  void embed(Matrix x, const Linear& table, std::span<const std::int32_t> ids) override {
    use_threads();
    for (std::size_t t = 0; t < ids.size(); ++t) {
      cpu::weight_rows(kernels_, table, ids[t], 1, x.data + static_cast<std::int64_t>(t) * x.cols);
    }
  }

  void rms_norm(Matrix y, Matrix x, const Norm& norm) override {
    use_threads();
    const auto size = static_cast<std::int64_t>(norm.weight.size());
    const std::int64_t vectors = x.rows * x.cols / size;
    const auto norm_vector = [&](std::int64_t r) {
      kernels_.vectors.rms_norm(y.data + r * size, x.data + r * size, norm.weight.data(), norm.eps, size);
    };
    parallel_for(vectors, norm_vector, x.rows > 1);
  }

  void layer_norm(Matrix y, Matrix x, const Norm& norm) override {
    use_threads();
    const auto norm_token = [&](std::int64_t t) {
      kernels_.vectors.layer_norm(y.data + t * x.cols, x.data + t * x.cols, norm.weight.data(),
                                  norm.bias.data(), norm.eps, x.cols);
    };
    parallel_for(x.rows, norm_token, x.rows > 1);
  }

  void linear_group(std::span<const Matrix> ys, const LinearGroup& group, Matrix x,
                    const Norm* norm) override {
    use_threads();
    if (norm != nullptr) {
      const Matrix normed = matrix(normed_, x.rows, x.cols);
      normalize(normed, x, *norm);
      x = normed;
    }
    multiply(ys, group, x, cpu::Store::overwrite);
  }

  void linear_add(Matrix x, const LinearGroup& weight, Matrix a) override {
    use_threads();
    multiply({&x, 1}, weight, a, cpu::Store::add);
  }

  void rope_append(Matrix q, Matrix k, Matrix v, const Rope& rope, const KvLayer& cache,
                   std::int64_t first) override {
    use_threads();
    if (!rope.inverse_frequency.empty()) {
      rope_table_.prepare(rope, first + q.rows);
      cpu::rope(q, rope_table_, cache.head_dim, first);
      cpu::rope(k, rope_table_, cache.head_dim, first);
    }
    cpu::append(cache, k, v, first);
  }

  void attention(Matrix out, Matrix q, const KvLayer& cache, std::int64_t first,
                 const AttentionShape& shape) override {
    use_threads();
    cpu::attention({kernels_, memory_, partial_}, out, q, cache, first, shape);
  }

  void swiglu(Matrix h, Matrix gate, Matrix up) override {
    use_threads();
    const auto one_token = [&](std::int64_t t) {
      const std::int64_t offset = t * gate.cols;
      kernels_.vectors.swiglu(h.data + offset, gate.data + offset, up.data + offset, gate.cols);
    };
    parallel_for(gate.rows, one_token, gate.rows > 1);
  }

  void gelu(Matrix h, Matrix x) override {
    use_threads();
    const auto one_token = [&](std::int64_t t) {
      kernels_.vectors.gelu(h.data + t * x.cols, x.data + t * x.cols, x.cols);
    };
    parallel_for(x.rows, one_token, x.rows > 1);
  }

 private:
  void use_threads() const { set_threads(threads_); }

  void multiply(std::span<const Matrix> ys, const LinearGroup& group, Matrix x, cpu::Store store) {
    cpu::linear({kernels_, memory_, partial_},
                {ys, group.members, x, gather_for(group, x), store, activations_}, inputs_);
  }

  // x in the packed members' column order; x itself where no member needs another.
  Matrix gather_for(const LinearGroup& group, Matrix x) {
    const bool needed =
        !group.perm.empty() && std::any_of(group.members.begin(), group.members.end(), is_packed);
    if (!needed) return x;
    const Matrix gathered = matrix(gathered_, x.rows, x.cols);
    gather(gathered, x, group.perm);
    return gathered;
  }

  static bool is_packed(const Linear& weight) { return std::holds_alternative<SpqrMatrix>(weight.weight); }

  int threads_;
  ActivationType activations_;
  const KernelTables& kernels_;
  cpu::ThreadMemory memory_;
  cpu::LinearInputs inputs_;
  Growing<float> partial_, normed_, gathered_;
  cpu::RopeTable rope_table_;
};

}  // namespace

std::unique_ptr<Backend> make_cpu_backend(const BackendOptions& options) {
  return std::make_unique<CpuBackend>(options);
}

}  // namespace spqr
