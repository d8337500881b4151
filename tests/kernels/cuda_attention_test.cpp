// Attention on a GPU, with what the other backends do not have: positions in device memory, and an upper
// bound of the keys for which the work is split, on devices of any size.
#include <doctest/doctest.h>

#include "kernels/cuda/check.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/operations.h"
#include "kernels/cuda/scratch_sizes.h"
#include "tests/kernels/attention_cases.h"

namespace spqr {
namespace {

// At position *base + (c.first - base), with work split for `visible` keys.
std::vector<float> attend(const cuda::Gpu& gpu, Backend& backend, const AttentionCase& c,
                          const AttentionValues& values, std::int32_t base, std::int64_t visible) {
  const AttentionOperands operands(backend, c, values);
  const LargestShapes largest{
      .tokens = c.tokens, .heads = c.heads, .heads_per_kv = c.heads / c.kv_heads, .head_dim = c.head_dim};
  const Buffer scratch = backend.allocate(cuda::attention_scratch_bytes(gpu.multiprocessors, largest));
  const Buffer position = backend.allocate(sizeof base);
  backend.upload(position.data(), &base, sizeof base);
  backend.synchronize();
  cuda::attention(gpu, operands.out(), operands.q(), operands.cache(),
                  {static_cast<const std::int32_t*>(position.data()), c.first - base}, visible,
                  operands.shape(), scratch.data());
  cuda::check(cudaStreamSynchronize(gpu.stream), "waiting for attention");
  return operands.result();
}

}  // namespace

TEST_CASE("attention on cuda: positions in device memory, splits for more keys than there are") {
  if (!cuda::device_absence().empty()) {
    MESSAGE("skipped: ", cuda::device_absence());
    return;
  }
  std::mt19937 random(1);
  const std::vector<AttentionCase> cases = {
      {1, 0, 2, 2, 16, 0, CacheType::f16},            // one key, all other splits have none
      {1, 200, 3, 1, 20, 0, CacheType::f32},          //
      {3, 500, 4, 2, 16, 0, CacheType::q8_0, true},   // ends of splits between the tokens
      {2, 700, 9, 1, 64, 150, CacheType::f16},        // splits of a window
      {20, 5, 2, 1, 16, 0, CacheType::f16},           // prompts
      {20, 900, 2, 1, 24, 0, CacheType::f16, true},   //
      {40, 900, 3, 1, 24, 400, CacheType::f16},       // splits that begin before what the last tokens see
      {40, 900, 3, 1, 12, 400, CacheType::f32, true}  //
  };
  const cuda::Device device;
  const std::unique_ptr<Backend> backend = make_backend("cuda", {});
  for (const AttentionCase& c : cases) {
    const AttentionValues values(c, random);
    for (const int multiprocessors : {1, 5, 132}) {
      cuda::Gpu gpu = device.gpu();
      gpu.multiprocessors = multiprocessors;
      const std::int64_t visible = c.first + c.tokens;
      for (const std::int64_t bound : {visible, visible + 100, std::int64_t{1} << 20}) {
        const std::string what =
            fmt::format("{}, split for {} keys on {} multiprocessors", c.text(), bound, multiprocessors);
        const std::vector<float> found = attend(gpu, *backend, c, values, 0, bound);
        check_close(found, values.expected, what);
        CHECK(attend(gpu, *backend, c, values, static_cast<std::int32_t>(c.first), bound) == found);
      }
    }
  }
}

TEST_CASE("attention on cuda: heads that are too wide are refused") {
  if (!cuda::device_absence().empty()) return;
  const cuda::Device device;
  const KvLayer cache{{}, {}, 1, 1, 257};
  CHECK_THROWS_WITH_AS(cuda::attention(device.gpu(), {nullptr, 1, 257}, {nullptr, 1, 257}, cache, {}, 1,
                                       {.heads = 1, .head_dim = 257}, nullptr),
                       "attention on cuda takes a head_dim of at most 256, found 257: use the cpu backend",
                       std::invalid_argument);
}

}  // namespace spqr
