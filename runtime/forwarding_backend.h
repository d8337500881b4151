// A backend that does nothing by itself: what watches or times another one derives from it.
#pragma once

#include "kernels/backend.h"

namespace spqr {

// Every call goes to `inner`, which lives as long.
class ForwardingBackend : public Backend {
 public:
  explicit ForwardingBackend(Backend& inner) : inner_(inner) {}

  std::string_view name() const override { return inner_.name(); }
  std::size_t scratch_bytes(const LargestShapes& largest) const override {
    return inner_.scratch_bytes(largest);
  }
  std::optional<std::size_t> free_memory() const override { return inner_.free_memory(); }
  std::optional<double> read_bandwidth() override { return inner_.read_bandwidth(); }
  std::unique_ptr<CountingBackend> counting() const override { return inner_.counting(); }
  void reserve(std::size_t bytes, const LargestShapes& largest) override { inner_.reserve(bytes, largest); }
  Buffer allocate(std::size_t bytes) override { return inner_.allocate(bytes); }
  void upload(void* destination, const void* source, std::size_t bytes) override {
    inner_.upload(destination, source, bytes);
  }
  void download(void* destination, const void* source, std::size_t bytes) override {
    inner_.download(destination, source, bytes);
  }
  void synchronize() override { inner_.synchronize(); }
  Linear place(const Linear& weight) override { return inner_.place(weight); }
  Norm place(const Norm& norm) override { return inner_.place(norm); }
  LinearGroup place(const LinearGroup& group) override { return inner_.place(group); }
  Rope place(const Rope& rope) override { return inner_.place(rope); }

  void embed(Matrix x, const Linear& table, std::span<const std::int32_t> ids) override {
    inner_.embed(x, table, ids);
  }
  void rms_norm(Matrix y, Matrix x, const Norm& norm) override { inner_.rms_norm(y, x, norm); }
  void layer_norm(Matrix y, Matrix x, const Norm& norm) override { inner_.layer_norm(y, x, norm); }
  void linear_group(std::span<const Matrix> ys, const LinearGroup& group, Matrix x,
                    const Norm* norm) override {
    inner_.linear_group(ys, group, x, norm);
  }
  void linear_add(Matrix x, const LinearGroup& weight, Matrix a) override { inner_.linear_add(x, weight, a); }
  void rope_append(Matrix q, Matrix k, Matrix v, const Rope& rope, const KvLayer& cache,
                   std::int64_t first) override {
    inner_.rope_append(q, k, v, rope, cache, first);
  }
  void attention(Matrix out, Matrix q, const KvLayer& cache, std::int64_t first,
                 const AttentionShape& shape) override {
    inner_.attention(out, q, cache, first, shape);
  }
  void swiglu(Matrix h, Matrix gate, Matrix up) override { inner_.swiglu(h, gate, up); }
  void gelu(Matrix h, Matrix x) override { inner_.gelu(h, x); }
  std::vector<TokenLogit> largest(Matrix logits, std::int64_t count) override {
    return inner_.largest(logits, count);
  }
  void decode(std::int32_t id, std::int64_t first, const std::function<void()>& step) override {
    inner_.decode(id, first, step);
  }

 protected:
  Backend& inner() { return inner_; }
  // norm(x), computed by `inner`; valid until the next call.
  Matrix normalized(Matrix x, const Norm& norm) {
    const auto bytes = static_cast<std::size_t>(x.rows * x.cols) * sizeof(float);
    if (normed_.bytes() < bytes) normed_ = inner_.allocate(bytes);
    const Matrix normed = normed_.matrix(x.rows, x.cols);
    inner_.normalize(normed, x, norm);
    return normed;
  }

 private:
  Backend& inner_;
  Buffer normed_;
};

}  // namespace spqr
