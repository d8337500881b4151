// Products with packed and with f16 weights, for operation_bench.
#include <cstring>
#include <random>
#include <span>

#include "kernels/half.h"
#include "kernels/host_memory.h"
#include "kernels/threads.h"
#include "runtime/synthetic.h"
#include "runtime/timed_operation.h"

namespace spqr {
namespace {

constexpr std::uint64_t kWeightSeed = 1;
constexpr std::uint64_t kInputSeed = 2;

// The same array several times, each at a multiple of 64 bytes.
template <typename Value>
class Copies {
 public:
  Copies(const std::vector<Value>& original, std::int64_t count)
      : size_(original.size()),
        stride_((size_ * sizeof(Value) + 63) / 64 * 64),
        memory_(allocate_host_memory(static_cast<std::size_t>(count) * stride_)) {
    parallel_for(count, [&](std::int64_t copy) {
      if (size_ > 0) std::memcpy(at(copy), original.data(), size_ * sizeof(Value));
    });
  }
  std::span<const Value> operator[](std::int64_t copy) const {
    return {reinterpret_cast<const Value*>(at(copy)), size_};
  }

 private:
  std::byte* at(std::int64_t copy) const {
    return static_cast<std::byte*>(memory_.get()) + static_cast<std::size_t>(copy) * stride_;
  }

  std::size_t size_;
  std::size_t stride_;
  HostMemory memory_;
};

class Weights {
 public:
  virtual ~Weights() = default;
  virtual std::int64_t copies() const = 0;
  virtual LinearGroup operator[](std::int64_t copy) const = 0;
};

class PackedWeights final : public Weights {
 public:
  PackedWeights(const OperationCase& what, const Backend& backend)
      : PackedWeights(pack(random_parts(what.format, what.m, what.n, what.outlier_share, kWeightSeed)),
                      backend) {}
  std::int64_t copies() const override { return copies_; }
  LinearGroup operator[](std::int64_t copy) const override {
    const SpqrMatrix view{format_, m_, n_, factor_, dense_[copy], row_offsets_[copy], col_vals_[copy]};
    return {.members = {{.weight = view, .bias = {}}}, .perm = {}};
  }

 private:
  PackedWeights(const PackedMatrix& matrix, const Backend& backend)
      : format_(matrix.format),
        m_(matrix.m),
        n_(matrix.n),
        factor_(matrix.factor),
        copies_(copies_of(matrix.view().bytes(), backend)),
        dense_(matrix.dense, copies_),
        row_offsets_(matrix.row_offsets, copies_),
        col_vals_(matrix.col_vals, copies_) {}

  SpqrFormat format_;
  std::int64_t m_;
  std::int64_t n_;
  float factor_;
  std::int64_t copies_;
  Copies<std::byte> dense_;
  Copies<std::uint32_t> row_offsets_;
  Copies<std::uint32_t> col_vals_;
};

class DenseWeights final : public Weights {
 public:
  DenseWeights(const OperationCase& what, const Backend& backend)
      : m_(what.m),
        n_(what.n),
        copies_(copies_of(2 * static_cast<std::size_t>(m_ * n_), backend)),
        values_(random_values(m_, n_), copies_) {}
  std::int64_t copies() const override { return copies_; }
  LinearGroup operator[](std::int64_t copy) const override {
    return {.members = {{.weight = TensorView{values_[copy].data(), DType::f16, {m_, n_}}, .bias = {}}},
            .perm = {}};
  }

 private:
  static std::vector<std::uint16_t> random_values(std::int64_t m, std::int64_t n) {
    std::vector<std::uint16_t> values(static_cast<std::size_t>(m * n));
    parallel_for(m, [&](std::int64_t row) {
      std::mt19937_64 random(kWeightSeed + static_cast<std::uint64_t>(row));
      std::uniform_real_distribution<float> uniform(-0.03F, 0.03F);
      std::vector<float> wide(static_cast<std::size_t>(n));
      for (float& value : wide) value = uniform(random);
      f32_to_f16(wide.data(), values.data() + row * n, wide.size());
    });
    return values;
  }

  std::int64_t m_;
  std::int64_t n_;
  std::int64_t copies_;
  Copies<std::uint16_t> values_;
};

std::unique_ptr<Weights> make_weights(const OperationCase& what, const Backend& backend) {
  if (is_packed(what.operation)) return std::make_unique<PackedWeights>(what, backend);
  return std::make_unique<DenseWeights>(what, backend);
}

class TimedProduct final : public TimedOperation {
 public:
  TimedProduct(const OperationCase& what, Backend& backend)
      : backend_(backend),
        weights_(make_weights(what, backend)),
        x_(backend, what.tokens, what.n, kInputSeed),
        y_(backend, what.tokens, what.m) {
    for (std::int64_t copy = 0; copy < weights_->copies(); ++copy)
      placed_.push_back(backend.place((*weights_)[copy]));
  }

  std::int64_t copies() const override { return weights_->copies(); }

  Work work() const override {
    const Matrix x = x_.matrix();
    const Matrix y = y_.matrix();
    const auto values = static_cast<double>(x.rows * (x.cols + y.cols));
    return {
        .bytes = static_cast<double>(placed_[0].bytes()) + sizeof(float) * values,
        .weight_bytes = static_cast<double>(placed_[0].bytes()),
        .flop = 2 * static_cast<double>(x.rows) * static_cast<double>(x.cols) * static_cast<double>(y.cols)};
  }

  void run(std::int64_t copy) override {
    multiply(backend_, y_, placed_[static_cast<std::size_t>(copy)], x_);
  }

  std::vector<float> result(const std::vector<std::int64_t>& tokens) const override {
    return y_.copy(backend_, tokens).download();
  }

  std::vector<float> compute(Backend& other, const std::vector<std::int64_t>& tokens) const override {
    const BackendRows x = x_.copy(other, tokens);
    const BackendRows y(other, x.matrix().rows, y_.matrix().cols);
    multiply(other, y, other.place((*weights_)[0]), x);
    return y.download();
  }

 private:
  static void multiply(Backend& backend, const BackendRows& y, const LinearGroup& weight,
                       const BackendRows& x) {
    const Matrix of_y = y.matrix();
    backend.linear_group({&of_y, 1}, weight, x.matrix(), nullptr);
  }

  Backend& backend_;
  std::unique_ptr<Weights> weights_;
  std::vector<LinearGroup> placed_;  // a copy each
  BackendRows x_;                    // (tokens, n)
  BackendRows y_;                    // (tokens, m)
};

}  // namespace

std::size_t product_operand_bytes(const OperationCase& what, const Backend& backend) {
  const auto weights = static_cast<std::size_t>(what.m) * static_cast<std::size_t>(what.n);
  if (!is_packed(what.operation)) {
    const std::size_t original = sizeof(std::uint16_t) * weights;
    return original * (1 + static_cast<std::size_t>(copies_of(original, backend)));
  }
  validate(what.format);
  const auto outliers = static_cast<std::size_t>(what.outlier_share * static_cast<double>(weights));
  const std::size_t sparse =
      outliers > 0 ? sizeof(std::uint32_t) * (static_cast<std::size_t>(what.m) + 1 + outliers) : 0;
  const std::size_t original = packed_bytes(what.format, what.m, what.n) + sparse;
  // Parts: codes of a byte each; statistics of an f32 each at most; outliers with a column and an f32 value,
  // in arrays that grew.
  const auto statistics = static_cast<std::size_t>(2 * what.m * what.format.groups(what.n));
  const std::size_t parts = weights + statistics * sizeof(float) + 2 * outliers * (2 + sizeof(float));
  return parts + original * (1 + static_cast<std::size_t>(copies_of(original, backend)));
}

std::unique_ptr<TimedOperation> make_timed_product(const OperationCase& what, Backend& backend) {
  if (is_packed(what.operation)) validate(what.format);
  return std::make_unique<TimedProduct>(what, backend);
}

}  // namespace spqr
