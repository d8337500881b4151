#include "kernels/cuda/cuda_backend.h"

#include <algorithm>
#include <array>
#include <stdexcept>

#include "kernels/cuda/bandwidth.h"
#include "kernels/cuda/check.h"
#include "kernels/cuda/counting_backend.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/device_memory.h"
#include "kernels/cuda/operations.h"
#include "kernels/cuda/placement.h"
#include "kernels/cuda/scratch_sizes.h"
#include "kernels/cuda/spqr_operations.h"
#include "kernels/cuda/step_graph.h"
#include "kernels/cuda/upload.h"

namespace spqr {
namespace {

using cuda::Position;
using cuda::Store;

// What a recorded step reads of the token that it is for.
struct StepInput {
  std::int32_t position = 0;
  std::int32_t id = 0;
};

// Sets a flag as long as it lives.
class While {
 public:
  explicit While(bool& flag) : flag_(flag) { flag_ = true; }
  ~While() { flag_ = false; }
  While(const While&) = delete;
  While& operator=(const While&) = delete;

 private:
  bool& flag_;
};

class CudaBackend final : public Backend, private cuda::WeightStore {
 public:
  explicit CudaBackend(const BackendOptions& options)
      : gpu_(device_.gpu()),
        activations_(options.activations),
        counters_(cuda::allocate_device_memory(cuda::kCounters * sizeof(std::uint32_t))),
        step_input_(cuda::allocate_device_memory(sizeof(StepInput))),
        uploader_(gpu_, options.uploaded) {
    gpu_.counters = static_cast<std::uint32_t*>(counters_.data());
    cuda::check(cudaMemsetAsync(counters_.data(), 0, counters_.bytes(), gpu_.stream), "clearing memory");
  }
  ~CudaBackend() override { cudaStreamSynchronize(gpu_.stream); }

  std::string_view name() const override { return "cuda"; }

  std::optional<std::size_t> free_memory() const override { return cuda::free_device_memory(); }
  std::optional<double> read_bandwidth() override { return cuda::read_bandwidth(gpu_); }
  std::unique_ptr<CountingBackend> counting() const override {
    return cuda::make_counting_backend(gpu_.multiprocessors);
  }

  std::size_t scratch_bytes(const LargestShapes& largest) const override {
    return cuda::backend_scratch_bytes(gpu_.multiprocessors, largest);
  }

  void reserve(std::size_t bytes, const LargestShapes& largest) override {
    memory_.reserve(bytes + scratch_bytes(largest));
    scratch_ = memory_.allocate(cuda::operation_scratch_bytes(gpu_.multiprocessors, largest));
    ids_ = memory_.allocate(cuda::ids_bytes(largest.tokens));
    reserved_ = true;
  }

  Buffer allocate(std::size_t bytes) override { return memory_.allocate(bytes); }

  // Waits: that a copy from memory that is not pinned has been read when the call returns is what drivers do,
  // not what they promise.
  void upload(void* destination, const void* source, std::size_t bytes) override {
    if (bytes == 0) return;
    cuda::check(cudaMemcpyAsync(destination, source, bytes, cudaMemcpyHostToDevice, gpu_.stream),
                "copying to the device");
    synchronize();
  }

  void download(void* destination, const void* source, std::size_t bytes) override {
    if (bytes == 0) return;
    cuda::check(cudaMemcpyAsync(destination, source, bytes, cudaMemcpyDeviceToHost, gpu_.stream),
                "copying from the device");
    synchronize();
  }

  void synchronize() override { cuda::check(cudaStreamSynchronize(gpu_.stream), "computing"); }

  Linear place(const Linear& weight) override { return cuda::place(*this, weight); }
  Norm place(const Norm& norm) override { return cuda::place(*this, norm); }
  LinearGroup place(const LinearGroup& group) override { return cuda::place(*this, group); }
  Rope place(const Rope& rope) override { return cuda::place(*this, rope); }

  void embed(Matrix x, const Linear& table, std::span<const std::int32_t> ids) override {
    if (recording_) {
      cuda::embed(gpu_, x, table, &recorded_input()->id);
      return;
    }
    if (ids_.bytes() < ids.size_bytes()) grow(ids_, ids.size_bytes());
    auto* device_ids = static_cast<std::int32_t*>(ids_.data());
    upload(device_ids, ids.data(), ids.size_bytes());
    cuda::embed(gpu_, x, table, device_ids);
  }

  void rms_norm(Matrix y, Matrix x, const Norm& norm) override { cuda::rms_norm(gpu_, y, x, norm); }
  void layer_norm(Matrix y, Matrix x, const Norm& norm) override { cuda::layer_norm(gpu_, y, x, norm); }

  void linear_group(std::span<const Matrix> ys, const LinearGroup& group, Matrix x,
                    const Norm* norm) override {
    std::byte* scratch = scratch_of(linear_scratch(x.rows, x.cols));
    if (norm != nullptr) {
      const Matrix normed{reinterpret_cast<float*>(scratch), x.rows, x.cols};
      normalize(normed, x, *norm);
      x = normed;
    }
    scratch += cuda::normed_bytes(x.rows, x.cols);
    for (std::size_t i = 0; i < ys.size(); ++i)
      linear(ys[i], group.members[i], group.perm, x, Store::replace, scratch);
  }

  void linear_add(Matrix x, const LinearGroup& weight, Matrix a) override {
    linear(x, weight.members.front(), weight.perm, a, Store::add, scratch_of(linear_scratch(a.rows, a.cols)));
  }

  void rope_append(Matrix q, Matrix k, Matrix v, const Rope& rope, const KvLayer& cache,
                   std::int64_t first) override {
    cuda::rope_append(gpu_, q, k, v, rope, cache, position(first));
  }

  void attention(Matrix out, Matrix q, const KvLayer& cache, std::int64_t first,
                 const AttentionShape& shape) override {
    const LargestShapes largest{.tokens = q.rows,
                                .heads = shape.heads,
                                .heads_per_kv = shape.heads / cache.kv_heads,
                                .head_dim = shape.head_dim};
    const std::int64_t visible = for_record_ ? std::min(recorded_visible_, cache.capacity) : first + q.rows;
    cuda::attention(gpu_, out, q, cache, position(first), visible, shape,
                    scratch_of(cuda::attention_scratch_bytes(gpu_.multiprocessors, largest)));
  }

  void swiglu(Matrix h, Matrix gate, Matrix up) override { cuda::swiglu(gpu_, h, gate, up); }
  void gelu(Matrix h, Matrix x) override { cuda::gelu(gpu_, h, x); }

  std::vector<TokenLogit> largest(Matrix logits, std::int64_t count) override {
    std::byte* scratch = scratch_of(cuda::candidates_bytes() + cuda::largest_scratch_bytes(logits.cols));
    auto* ids = reinterpret_cast<std::int32_t*>(scratch);
    auto* values = reinterpret_cast<float*>(ids + kMostCandidates);
    cuda::largest(gpu_, ids, values, logits, count, scratch + cuda::candidates_bytes());
    struct {
      std::array<std::int32_t, kMostCandidates> ids;
      std::array<float, kMostCandidates> values;
    } found;
    download(&found, scratch, sizeof found);
    std::vector<TokenLogit> candidates;
    for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i)
      candidates.push_back({found.ids[i], found.values[i]});
    return candidates;
  }

  void decode(std::int32_t id, std::int64_t first, const std::function<void()>& step) override {
    // Memory that grows cannot be recorded.
    if (!reserved_) return step();
    // Nor can kernels that have never been launched, which are loaded then: the first step runs as it is, its
    // work cut as that of records will be, so that it has all of their kernels.
    if (!has_decoded_) {
      cut_for_record(first, step);
      has_decoded_ = true;
      return;
    }
    if (!graph_.is_recorded() || first >= recorded_visible_) record(first, step);
    const StepInput input{static_cast<std::int32_t>(first), id};
    upload(step_input_.data(), &input, sizeof input);
    graph_.launch(gpu_);
  }

 private:
  // Of a product: its normed input, and what kernels need.
  std::size_t linear_scratch(std::int64_t tokens, std::int64_t n) const {
    return cuda::normed_bytes(tokens, n) + cuda::spqr_linear_scratch_bytes(gpu_.multiprocessors, tokens, n);
  }

  void linear(Matrix y, const Linear& weight, std::span<const std::uint32_t> perm, Matrix x, Store store,
              std::byte* scratch) {
    if (std::holds_alternative<SpqrMatrix>(weight.weight)) {
      cuda::spqr_linear(gpu_, y, weight, perm, x, store, activations_, scratch);
    } else {
      cuda::dense_linear(gpu_, y, weight, x, store);
    }
  }

  std::byte* scratch_of(std::size_t bytes) {
    if (scratch_.bytes() < bytes) grow(scratch_, bytes);
    return static_cast<std::byte*>(scratch_.data());
  }
  void grow(Buffer& buffer, std::size_t bytes) {
    synchronize();
    graph_.forget();  // it has the old one
    buffer = cuda::allocate_device_memory(bytes);
  }

  // WeightStore
  std::byte* take(std::size_t bytes) override {
    weights_.push_back(memory_.allocate(bytes));
    return static_cast<std::byte*>(weights_.back().data());
  }
  void fill(std::byte* destination, const void* source, std::size_t bytes) override {
    uploader_.copy(destination, source, bytes);
  }
  void fill_packed(std::byte* destination, const SpqrMatrix& source) override {
    uploader_.copy_packed(destination, source, scratch_of(cuda::Uploader::kPieceBytes));
  }

  const StepInput* recorded_input() const { return static_cast<const StepInput*>(step_input_.data()); }
  // While a step is recorded, `first` stands for wherever it will be run.
  Position position(std::int64_t first) const {
    if (recording_) return {&recorded_input()->position, 0};
    return {nullptr, first};
  }

  // For all positions up to a power of two: the work of attention is split for the last of them.
  void cut_for_record(std::int64_t first, const std::function<void()>& step) {
    constexpr std::int64_t kLeastVisible = 256;
    recorded_visible_ = kLeastVisible;
    while (recorded_visible_ <= first) recorded_visible_ *= 2;
    const While cutting(for_record_);
    step();
  }

  void record(std::int64_t first, const std::function<void()>& step) {
    const While recording(recording_);
    graph_.record(gpu_, [&] { cut_for_record(first, step); });
  }

  cuda::Device device_;
  cuda::Gpu gpu_;
  ActivationType activations_;
  cuda::DeviceMemory memory_;
  Buffer counters_;
  Buffer step_input_;
  Buffer scratch_;
  Buffer ids_;
  std::vector<Buffer> weights_;
  cuda::Uploader uploader_;
  bool reserved_ = false;
  bool has_decoded_ = false;
  bool recording_ = false;
  bool for_record_ = false;  // attention's work is cut for recorded_visible_
  std::int64_t recorded_visible_ = 0;
  cuda::StepGraph graph_;
};

}  // namespace

const std::string& cuda_absence() {
  static const std::string reason = cuda::device_absence();
  return reason;
}

bool cuda_is_real() {
#if defined(SPQR_CUDA_EMULATED)
  return false;
#else
  return cuda_absence().empty();
#endif
}

std::unique_ptr<Backend> make_cuda_backend(const BackendOptions& options) {
  if (!cuda_absence().empty()) throw std::runtime_error("there is no cuda backend here: " + cuda_absence());
  return std::make_unique<CudaBackend>(options);
}

}  // namespace spqr
