#include "kernels/cpu/cpu_backend.h"

#include <omp.h>

#include <algorithm>
#include <vector>

#include "kernels/cpu/operations.h"
#include "kernels/cpu/vector_kernels.h"
#include "kernels/host_backend.h"

namespace spqr {
namespace {

// Memory that grows on demand and is kept, so that decoding allocates nothing.
class Scratch {
 public:
  Matrix matrix(std::int64_t rows, std::int64_t cols) {
    const auto needed = static_cast<std::size_t>(rows * cols);
    if (values_.size() < needed) values_.resize(needed);
    return {values_.data(), rows, cols};
  }

 private:
  std::vector<float> values_;
};

// y[t][j] = x[t][perm[j]]
void gather(Matrix y, Matrix x, std::span<const std::uint32_t> perm) {
#pragma omp parallel for schedule(static) if (x.rows > 1)
  for (std::int64_t t = 0; t < x.rows; ++t) {
    const float* in = x.data + t * x.cols;
    float* out = y.data + t * y.cols;
    for (std::size_t j = 0; j < perm.size(); ++j) out[j] = in[perm[j]];
  }
}

// Every operation begins with use_threads(): OpenMP keeps the number of threads per calling thread, and other
// backends may have set theirs.
class CpuBackend final : public HostBackend {
 public:
  explicit CpuBackend(const BackendOptions& options)
      : threads_(options.threads > 0 ? options.threads : omp_get_num_procs()),
        activations_(options.activations),
        memory_(threads_) {}

  std::string_view name() const override { return "cpu"; }

  std::size_t scratch_bytes(const LargestShapes& largest) const override {
    const std::int64_t per_thread =
        std::max(cpu::linear_floats(largest.in_features, largest.tokens),
                 cpu::attention_floats(largest.tokens, largest.heads_per_kv, largest.head_dim));
    // Normed and in another order; of one token also padded, in 8 bits, and with its sums and scales.
    const std::int64_t inputs = 2 * (largest.tokens + 1) * largest.in_features;
    return sizeof(float) * static_cast<std::size_t>(threads_ * per_thread + inputs);
  }

  void embed(Matrix x, const Linear& table, std::span<const std::int32_t> ids) override {
    use_threads();
    for (std::size_t t = 0; t < ids.size(); ++t) {
      cpu::weight_rows(table, ids[t], 1, x.data + static_cast<std::int64_t>(t) * x.cols);
    }
  }

  void rms_norm(Matrix y, Matrix x, const Norm& norm) override {
    use_threads();
    const auto size = static_cast<std::int64_t>(norm.weight.size());
    const std::int64_t vectors = x.rows * x.cols / size;
#pragma omp parallel for schedule(static) if (x.rows > 1)
    for (std::int64_t r = 0; r < vectors; ++r) {
      cpu::vector_kernels().rms_norm(y.data + r * size, x.data + r * size, norm.weight.data(), norm.eps,
                                     size);
    }
  }

  void layer_norm(Matrix y, Matrix x, const Norm& norm) override {
    use_threads();
#pragma omp parallel for schedule(static) if (x.rows > 1)
    for (std::int64_t t = 0; t < x.rows; ++t) {
      cpu::vector_kernels().layer_norm(y.data + t * x.cols, x.data + t * x.cols, norm.weight.data(),
                                       norm.bias.data(), norm.eps, x.cols);
    }
  }

  void linear_group(std::span<const Matrix> ys, const LinearGroup& group, Matrix x,
                    const Norm* norm) override {
    use_threads();
    if (norm != nullptr) {
      const Matrix normed = normed_.matrix(x.rows, x.cols);
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
    cpu::attention(out, q, cache, first, shape, memory_);
  }

  void swiglu(Matrix h, Matrix gate, Matrix up) override {
    use_threads();
#pragma omp parallel for schedule(static) if (gate.rows > 1)
    for (std::int64_t t = 0; t < gate.rows; ++t) {
      const std::int64_t offset = t * gate.cols;
      cpu::vector_kernels().swiglu(h.data + offset, gate.data + offset, up.data + offset, gate.cols);
    }
  }

  void gelu(Matrix h, Matrix x) override {
    use_threads();
#pragma omp parallel for schedule(static) if (x.rows > 1)
    for (std::int64_t t = 0; t < x.rows; ++t) {
      cpu::vector_kernels().gelu(h.data + t * x.cols, x.data + t * x.cols, x.cols);
    }
  }

 private:
  void use_threads() const {
    omp_set_num_threads(threads_);
  }

  void multiply(std::span<const Matrix> ys, const LinearGroup& group, Matrix x, cpu::Store store) {
    cpu::linear({ys, group.members, x, gather_for(group, x), store, activations_}, memory_, input_);
  }

  // x in the packed members' column order; x itself where no member needs another.
  Matrix gather_for(const LinearGroup& group, Matrix x) {
    const bool needed =
        !group.perm.empty() && std::any_of(group.members.begin(), group.members.end(), is_packed);
    if (!needed) return x;
    const Matrix gathered = gathered_.matrix(x.rows, x.cols);
    gather(gathered, x, group.perm);
    return gathered;
  }

  static bool is_packed(const Linear& weight) {
    return std::holds_alternative<SpqrMatrix>(weight.weight);
  }

  int threads_;
  ActivationType activations_;
  cpu::ThreadMemory memory_;
  SpqrInput input_;
  Scratch normed_;
  Scratch gathered_;
  cpu::RopeTable rope_table_;
};

}  // namespace

std::unique_ptr<Backend> make_cpu_backend(const BackendOptions& options) {
  return std::make_unique<CpuBackend>(options);
}

}  // namespace spqr
