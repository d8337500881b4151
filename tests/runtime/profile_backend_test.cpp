// The backend that only forwards, and the one that times: what they compute is what the inner one computes.
#include <doctest/doctest.h>

#include <array>
#include <thread>
#include <vector>

#include "runtime/profile_backend.h"
#include "tests/runtime/random_values.h"

namespace spqr {
namespace {

constexpr std::int64_t kTokens = 3;
constexpr std::int64_t kWidth = 16;

// Every operation once, each with something to do.
std::vector<float> run_all(Backend& backend) {
  std::vector<float> weight = random_values(kWidth * kWidth, 1);
  const std::vector<float> gains = random_values(kWidth, 2);
  const std::vector<float> frequencies = random_values(kWidth / 2, 3);
  const Linear linear{.weight = TensorView{weight.data(), DType::f32, {kWidth, kWidth}}, .bias = {}};
  const LinearGroup group = backend.place(LinearGroup{.members = {linear}, .perm = {}});
  const Norm rms = backend.place(Norm{gains, 1e-5F});
  const Norm layer = backend.place(Norm{gains, 1e-5F, gains});
  std::vector<std::byte> rows(2 * kTokens * kWidth * sizeof(float));
  const KvLayer cache{
      {rows.data(), CacheType::f32}, {rows.data() + rows.size() / 2, CacheType::f32}, 1, kTokens, kWidth};
  const Buffer memory = backend.allocate(3 * kTokens * kWidth * sizeof(float));
  const Matrix x = memory.matrix(kTokens, kWidth);
  const Matrix y{x.data + kTokens * kWidth, kTokens, kWidth};
  const Matrix z{y.data + kTokens * kWidth, kTokens, kWidth};

  backend.embed(x, backend.place(linear), std::array<std::int32_t, 3>{5, 0, 15});
  backend.rms_norm(y, x, rms);
  backend.layer_norm(y, y, layer);
  backend.linear_group(std::array{z}, group, y, &rms);
  backend.linear_group(std::array{y}, group, z, nullptr);
  backend.linear_add(x, group, y);
  backend.rope_append(x, y, z, {frequencies}, cache, 0);
  backend.attention(z, x, cache, 0, {.heads = 1, .head_dim = kWidth});
  backend.swiglu(y, x, z);
  backend.gelu(z, y);
  backend.synchronize();
  std::vector<float> result(3 * kTokens * kWidth);
  backend.download(result.data(), memory.data(), result.size() * sizeof(float));
  return result;
}

TEST_CASE("a forwarding backend computes what the inner one does") {
  const std::unique_ptr<Backend> reference = make_backend("reference", {});
  ForwardingBackend forwarding(*reference);
  CHECK(forwarding.name() == "reference");
  CHECK(forwarding.scratch_bytes({4, 100, 1, 64}) == reference->scratch_bytes({4, 100, 1, 64}));
  CHECK(run_all(forwarding) == run_all(*reference));
}

TEST_CASE("a profile has every operation, norms apart from the linears that read them") {
  const std::vector<float> expected = run_all(*make_backend("reference", {}));
  ProfileBackend profiling(make_backend("reference", {}));
  CHECK(run_all(profiling) == expected);
  CHECK(profiling.stop().empty());  // was never switched on
  profiling.start();
  CHECK(run_all(profiling) == expected);
  const Profile profile = profiling.stop();
  std::vector<std::string_view> names;
  for (const auto& [name, seconds] : profile) {
    names.push_back(name);
    CHECK(seconds > 0);
  }
  CHECK(names == std::vector<std::string_view>{"attention", "embed", "gelu", "linear", "norm", "rope_append",
                                               "swiglu"});
  CHECK(run_all(profiling) == expected);
  CHECK(profiling.stop().empty());
}

// One that counts the steps it is given.
class StepCounter final : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;
  void decode(std::int32_t id, std::int64_t first, const std::function<void()>& step) override {
    ++steps;
    inner().decode(id, first, step);
  }
  int steps = 0;
};

TEST_CASE("steps go to the inner backend, which may run its record of them, unless they are profiled") {
  const std::unique_ptr<Backend> reference = make_backend("reference", {});
  auto owned = std::make_unique<StepCounter>(*reference);
  const StepCounter& counter = *owned;
  ProfileBackend profiling(std::move(owned));
  int run = 0;
  profiling.decode(1, 0, [&] { ++run; });
  CHECK(counter.steps == 1);
  CHECK(run == 1);
  profiling.start();
  profiling.decode(1, 1, [&] { ++run; });
  profiling.stop();
  CHECK(counter.steps == 1);
  CHECK(run == 2);
}

// An inner backend some of whose operations take as long as is said.
class SlowBackend final : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;
  void rms_norm(Matrix, Matrix, const Norm&) override { wait(10); }
  void linear_group(std::span<const Matrix>, const LinearGroup&, Matrix, const Norm* norm) override {
    wait(norm == nullptr ? 20 : 30);
  }
  void synchronize() override { wait(5); }

 private:
  static void wait(int milliseconds) { std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds)); }
};

TEST_CASE("a profile counts what operations take, to the end of what they queued") {
  const std::unique_ptr<Backend> reference = make_backend("reference", {});
  ProfileBackend profiling(std::make_unique<SlowBackend>(*reference));
  const std::vector<float> gains(kWidth, 1);
  std::vector<float> x(kWidth);
  const Norm norm{gains, 1e-5F};
  profiling.start();
  profiling.linear_group({}, {}, {x.data(), 1, kWidth}, &norm);
  const Profile profile = profiling.stop();
  CHECK(profile.size() == 2);
  CHECK(profile.at("norm") >= 0.015);
  CHECK(profile.at(kProfiledLinears) >= 0.025);
}

}  // namespace
}  // namespace spqr
