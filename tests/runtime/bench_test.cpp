// What is measured: counts of bytes and arithmetic against their formulas, limits, and single operations.
#include <doctest/doctest.h>

#include "kernels/cpu/kernel_tables.h"
#include "runtime/bench.h"
#include "runtime/operation_bench.h"
#include "runtime/timed_operation.h"
#include "tests/models/files.h"
#include "tests/runtime/small_models.h"

namespace spqr {
namespace {

// The stories model: 5 blocks of 64 values, 8 heads of 8 over 4 KV heads, 172 in the MLP, 512 tokens, the
// head tied to the embedding, all f32; keys and values of a token take 2 bytes each.
constexpr double kBlockWeights = 5 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 172);
constexpr double kHeadWeights = 512 * 64;
constexpr double kNormBytes = 4 * 11 * 64;
constexpr double kRowBytes = 4 * 64;
constexpr double kCacheBytes = 5 * 2 * 4 * 8 * 2;  // of a token
constexpr double kAttentionFlop = 5 * 4 * 8 * 8;   // of a token, for each that it sees

class StoriesBench {
 public:
  StoriesBench() : file_((directory_.path() / "stories.spqr").string()) { write_stories_model(file_); }
  Bench open(std::int64_t batch) const {
    SessionOptions options;
    options.model = file_;
    options.context = 32;
    options.batch = batch;
    options.threads = 2;
    return Bench(options);
  }

 private:
  TemporaryDirectory directory_;
  std::string file_;
};

TEST_CASE("the work of decoding after a filled cache") {
  const StoriesBench stories;
  const Bench bench = stories.open(8);
  const Work work = work_of(bench.session(), {.n_gen = 2, .n_depth = 3}, 8);
  CHECK(work.flop == 2 * 2 * (kBlockWeights + kHeadWeights) + (4 + 5) * kAttentionFlop);
  CHECK(work.bytes ==
        2 * (4 * (kBlockWeights + kHeadWeights) + kNormBytes + kRowBytes) + (4 + 5) * kCacheBytes);
  CHECK(work.weight_bytes == work.bytes - (4 + 5) * kCacheBytes);
}

TEST_CASE("the work of a prompt: weights once for a batch, the head once") {
  const StoriesBench stories;
  const Bench bench = stories.open(2);
  const Work work = work_of(bench.session(), {.n_prompt = 5}, 2);
  CHECK(work.flop == 2 * (5 * kBlockWeights + kHeadWeights) + (1 + 2 + 3 + 4 + 5) * kAttentionFlop);
  CHECK(work.bytes ==
        3 * (4 * kBlockWeights + kNormBytes) + 4 * kHeadWeights + 5 * kRowBytes + (2 + 4 + 5) * kCacheBytes);
  const Work both = work_of(bench.session(), {.n_prompt = 5, .n_gen = 1}, 2);
  CHECK(both.flop - work.flop == 2 * (kBlockWeights + kHeadWeights) + 6 * kAttentionFlop);
}

TEST_CASE("a bench runs tests of any depth in one session") {
  const StoriesBench stories;
  Bench bench = stories.open(4);
  const MachineLimits limits;
  for (const BenchTest& test :
       {BenchTest{8, 0, 0}, BenchTest{0, 3, 16}, BenchTest{4, 2, 8}, BenchTest{5, 0, 27}}) {
    const BenchResult result = bench.run(test, 2, limits, {});
    CHECK(bench.session().length() == test.longest());
    CHECK(result.seconds.size() == 2);
    CHECK(result.limits.read_gb_per_s > 0);
    CHECK(result.limits.peak_gflop_per_s > 0);
    double operations = 0;
    for (const auto& [name, seconds] : result.profile) operations += seconds;
    CHECK(operations <= result.profile_seconds);
    CHECK(result.outside_products() > 0);
    CHECK(result.outside_products() < 1);
  }
  CHECK_THROWS_WITH(bench.run({8, 0, 25}, 1, limits, {}),
                    "a test of 33 tokens does not fit the context of 32");
  CHECK_THROWS_AS(bench.run({8, 0, 0}, 1, limits, [] { return true; }), Interrupted);
}

// Memory of its own, which is read as fast as is said.
class OtherMemory final : public ForwardingBackend {
 public:
  OtherMemory(Backend& inner, std::optional<double> bandwidth)
      : ForwardingBackend(inner), bandwidth_(bandwidth) {}
  std::optional<std::size_t> free_memory() const override { return std::size_t{1} << 20U; }
  std::optional<double> read_bandwidth() override { return bandwidth_; }

 private:
  std::optional<double> bandwidth_;
};

TEST_CASE("limits are of the memory that the backend works in") {
  const MachineLimits limits;
  const BackendOptions options{.threads = 2};
  const std::unique_ptr<Backend> host = make_backend("cpu", options);
  CHECK(limits.measure(*host, options, Products::f32).peak_gflop_per_s > 0);
  OtherMemory measured(*host, 3e12);
  const MachineRates rates = limits.measure(measured, options, Products::f32);
  CHECK(rates.read_gb_per_s == 3e3);
  CHECK(!rates.peak_gflop_per_s);
  OtherMemory full(*host, std::nullopt);
  const MachineRates none = limits.measure(full, options, Products::f32);
  CHECK(!none.read_gb_per_s);
  const MachineRates of_all = median({rates, none, MachineRates{5e3, 1.0}, MachineRates{1e3, 3.0}});
  CHECK(of_all.read_gb_per_s == 3e3);
  CHECK(of_all.peak_gflop_per_s == 3.0);
  for (const std::string& name : backend_names()) {
    if (name == "cuda") CHECK(make_backend(name, {})->read_bandwidth() > 0);
  }
}

TEST_CASE("copies of operands fit a quarter of a device's memory") {
  const std::unique_ptr<Backend> host = make_backend("cpu", {});
  CHECK(copies_of(std::size_t{1} << 20U, *host) == 256);
  const OtherMemory small(*host, std::nullopt);
  CHECK(copies_of(std::size_t{1} << 16U, small) == 4);
  CHECK(copies_of(std::size_t{1} << 20U, small) == 1);
}

TEST_CASE("peaks count their multiply-adds") {
  constexpr std::int64_t kRounds = 64 * 1024;  // sums must not overflow either
  for (const Isa isa : present_isas()) {
    CAPTURE(name_of(isa));
    const SpqrStripKernels& strips = kernel_tables(isa).strips;
    CHECK(strips.peak_f32(1) > 0);
    CHECK(strips.peak_f32(kRounds) == kRounds * strips.peak_f32(1));
    CHECK((strips.peak_int16 == nullptr) == (strips.multiply_int16 == nullptr));
    if (strips.peak_int16 != nullptr) CHECK(strips.peak_int16(kRounds) == kRounds * strips.peak_int16(1));
  }
}

OperationCase small_case(std::string_view name) {
  OperationCase what{.operation = operation_of(name).value()};
  what.tokens = name.ends_with("matvec") ? 1 : 9;
  what.m = 80;
  what.n = 200;
  what.outlier_share = 0.01;
  what.heads = 4;
  what.kv_heads = 2;
  what.head_dim = 32;
  what.depth = 7;
  return what;
}

constexpr std::string_view kOperations[] = {"spqr_matvec", "spqr_matmul", "dense_matvec", "dense_matmul",
                                            "attention"};

TEST_CASE("operations are compared with the reference, timed and counted") {
  const MachineLimits limits;
  const BackendOptions options{.threads = 2};
  const std::unique_ptr<Backend> backend = make_backend("cpu", options);
  for (const std::string_view name : kOperations) {
    CAPTURE(name);
    const OperationCase what = small_case(name);
    CHECK(name_of(what.operation) == name);
    const OperationResult result = run_operation(what, *backend, options, 2, limits, {});
    CHECK(result.relative_error > 0);
    CHECK(result.relative_error <= result.tolerance);
    CHECK(result.seconds.size() == 2);
    const auto tokens = static_cast<double>(what.tokens);
    CHECK(result.work.flop == (name == "attention" ? 4.0 * 4 * 32 * (9 * 7 + 45) : 2 * tokens * 80 * 200));
    CHECK_THROWS_AS(run_operation(what, *backend, options, 2, limits, [] { return true; }), Interrupted);
  }
  CHECK(!operation_of("matmul"));
}

TEST_CASE("operations that memory does not hold are refused before anything is allocated") {
  const std::unique_ptr<Backend> backend = make_backend("cpu", {.threads = 2});
  constexpr std::size_t kCopies = std::size_t{256} << 20U;
  for (const std::string_view name : kOperations) {
    CAPTURE(name);
    const OperationCase what = small_case(name);
    const std::size_t bytes = operation_bytes(what, *backend);
    if (name.starts_with("dense")) CHECK(bytes > 4096 * 2 * 80 * 200);
    CHECK(bytes < 2 * kCopies);
    CHECK_NOTHROW(require_memory(what, *backend, bytes));
    CHECK_THROWS_WITH_AS(require_memory(what, *backend, bytes - 1), doctest::Contains("too little memory"),
                         std::runtime_error);
  }
  OperationCase large = small_case("dense_matvec");
  large.m = large.n = std::int64_t{1} << 24;
  CHECK_THROWS_WITH_AS(run_operation(large, *backend, {}, 1, MachineLimits(), {}),
                       doctest::Contains("dense_matvec with its operands and copies of them takes 1048576."),
                       std::runtime_error);
}

// The last token's results are a hundredth too large.
class WrongBackend final : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;
  void linear_group(std::span<const Matrix> ys, const LinearGroup& group, Matrix x,
                    const Norm* norm) override {
    inner().linear_group(ys, group, x, norm);
    spoil(ys[0]);
  }
  void attention(Matrix out, Matrix q, const KvLayer& cache, std::int64_t first,
                 const AttentionShape& shape) override {
    inner().attention(out, q, cache, first, shape);
    spoil(out);
  }

 private:
  static void spoil(Matrix y) {
    for (std::int64_t i = 0; i < y.cols; ++i) y.data[(y.rows - 1) * y.cols + i] *= 1.01F;
  }
};

TEST_CASE("operations with wrong results are not timed") {
  const MachineLimits limits;
  const std::unique_ptr<Backend> backend = make_backend("cpu", {});
  WrongBackend wrong(*backend);
  for (const std::string_view name : kOperations) {
    CAPTURE(name);
    const OperationResult result = run_operation(small_case(name), wrong, {}, 2, limits, {});
    CHECK(result.relative_error > result.tolerance);
    CHECK(result.relative_error == doctest::Approx(name.ends_with("matvec") ? 0.01 : 0.005).epsilon(0.5));
    CHECK(result.seconds.empty());
  }
}

}  // namespace
}  // namespace spqr
