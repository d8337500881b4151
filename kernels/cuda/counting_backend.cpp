#include "kernels/cuda/counting_backend.h"

#include <limits>
#include <new>
#include <stdexcept>

#include "kernels/cuda/arena.h"
#include "kernels/cuda/placement.h"
#include "kernels/cuda/scratch_sizes.h"

namespace spqr::cuda {
namespace {

[[noreturn]] void refuse() {
  throw std::logic_error("a backend that counts memory computes nothing");
}

class Counter final : public CountingBackend, private WeightStore {
 public:
  explicit Counter(int multiprocessors) : multiprocessors_(multiprocessors) {}

  std::size_t bytes() const override { return arena_.used(); }

  std::string_view name() const override { return "cuda"; }
  std::size_t scratch_bytes(const LargestShapes& largest) const override {
    return backend_scratch_bytes(multiprocessors_, largest);
  }
  Buffer allocate(std::size_t bytes) override {
    return {take(bytes), bytes, [](void*) {}};
  }
  void upload(void* /*destination*/, const void* /*source*/, std::size_t /*bytes*/) override {}
  void download(void* /*destination*/, const void* /*source*/, std::size_t /*bytes*/) override { refuse(); }
  void synchronize() override {}
  Linear place(const Linear& weight) override { return cuda::place(*this, weight); }
  Norm place(const Norm& norm) override { return cuda::place(*this, norm); }
  LinearGroup place(const LinearGroup& group) override { return cuda::place(*this, group); }
  Rope place(const Rope& rope) override { return cuda::place(*this, rope); }

  void embed(Matrix, const Linear&, std::span<const std::int32_t>) override { refuse(); }
  void rms_norm(Matrix, Matrix, const Norm&) override { refuse(); }
  void layer_norm(Matrix, Matrix, const Norm&) override { refuse(); }
  void linear_group(std::span<const Matrix>, const LinearGroup&, Matrix, const Norm*) override { refuse(); }
  void linear_add(Matrix, const LinearGroup&, Matrix) override { refuse(); }
  void rope_append(Matrix, Matrix, Matrix, const Rope&, const KvLayer&, std::int64_t) override { refuse(); }
  void attention(Matrix, Matrix, const KvLayer&, std::int64_t, const AttentionShape&) override { refuse(); }
  void swiglu(Matrix, Matrix, Matrix) override { refuse(); }
  void gelu(Matrix, Matrix) override { refuse(); }
  std::vector<TokenLogit> largest(Matrix, std::int64_t) override { refuse(); }

 private:
  std::byte* take(std::size_t bytes) override {
    std::byte* taken = arena_.take(bytes);
    if (taken == nullptr) throw std::bad_alloc();
    return taken;
  }
  void fill(std::byte* /*destination*/, const void* /*source*/, std::size_t /*bytes*/) override {}
  void fill_packed(std::byte* /*destination*/, const SpqrMatrix& /*source*/) override {}

  int multiprocessors_;
  // Addresses that nobody uses; none of them is null.
  Arena arena_{reinterpret_cast<std::byte*>(kAlignment), std::numeric_limits<std::size_t>::max() / 2};
};

}  // namespace

std::unique_ptr<CountingBackend> make_counting_backend(int multiprocessors) {
  return std::make_unique<Counter>(multiprocessors);
}

}  // namespace spqr::cuda
