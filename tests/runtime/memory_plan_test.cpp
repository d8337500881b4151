#include "runtime/memory_plan.h"

#include <doctest/doctest.h>

#include <stdexcept>
#include <string>

#include "models/kv_cache.h"
#include "models/model.h"
#include "tests/models/files.h"

namespace spqr {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20U;
// 100 MiB of weights, 1 MiB of cache a token, 20 MiB of workspace.
constexpr MemoryNeeds kNeeds{100 * kMiB, kMiB, 20 * kMiB};

}  // namespace

TEST_CASE("the default context is the smallest of the model's maximum, 4096 and what fits") {
  CHECK(plan_memory(kNeeds, 0, 2048, 100'000 * kMiB).context == 2048);
  CHECK(plan_memory(kNeeds, 0, 131'072, 100'000 * kMiB).context == 4096);
  const MemoryPlan plan = plan_memory(kNeeds, 0, 131'072, 620 * kMiB);
  CHECK(plan.context == 500);
  CHECK(plan.cache() == 500 * kMiB);
  CHECK(plan.total() == 620 * kMiB);
  CHECK(plan_memory(kNeeds, 0, 131'072, 121 * kMiB).context == 1);
}

TEST_CASE("a context that is asked for is given or refused with the numbers") {
  CHECK(plan_memory(kNeeds, 10, 64, 130 * kMiB).context == 10);
  const std::string message = message_of([] { plan_memory(kNeeds, 11, 64, 130 * kMiB); });
  CHECK(contains(message, "100.0 MiB of weights"));
  CHECK(contains(message, "11.0 MiB of KV cache for 11 tokens"));
  CHECK(contains(message, "20.0 MiB of workspace"));
  CHECK(contains(message, "are 131.0 MiB"));
  CHECK(contains(message, "130.0 MiB are available"));
  CHECK(contains(message, "-c 10 would fit"));
}

TEST_CASE("weights that do not fit are refused, without advice that does not help") {
  for (const std::int64_t context : {0, 1, 4096}) {
    const std::string message = message_of([&] { plan_memory(kNeeds, context, 64, 119 * kMiB); });
    CHECK(contains(message, "119.0 MiB are available"));
    CHECK_FALSE(contains(message, "-c"));
    CHECK(contains(message, "a smaller -b"));
  }
  // Room for weights and workspace, none for a single token.
  CHECK_FALSE(contains(message_of([] { plan_memory(kNeeds, 0, 64, 120 * kMiB); }), "-c"));
  CHECK_FALSE(contains(message_of([] { plan_memory(kNeeds, 0, 64, 120 * kMiB + 5); }), "-c 0"));
}

TEST_CASE("weights alone that do not fit are beyond advice") {
  const std::string message = message_of([] { plan_memory(kNeeds, 0, 64, 99 * kMiB); });
  CHECK(contains(message, "99.0 MiB are available"));
  CHECK(message.ends_with("are available"));
}

TEST_CASE("sizes that overflow are refused") {
  CHECK_THROWS_AS(plan_memory(kNeeds, std::int64_t{1} << 60U, std::int64_t{1} << 61U, 130 * kMiB),
                  std::runtime_error);
}

TEST_CASE("needs follow from the configuration") {
  ModelConfig config;
  config.model_type = "llama";
  config.hidden_size = 64;
  config.intermediate_size = 172;
  config.num_hidden_layers = 5;
  config.num_attention_heads = 8;
  config.num_key_value_heads = 4;
  config.head_dim = 8;
  config.vocab_size = 512;
  config.max_position_embeddings = 512;
  const auto backend = make_backend("cpu", {2});
  const MemoryNeeds f16 = memory_needs(config, 1000, *backend, CacheTypes{}, 16, 1);
  const MemoryNeeds f32 =
      memory_needs(config, 1000, *backend, CacheTypes{CacheType::f32, CacheType::f32}, 16, 1);
  CHECK(f16.weights == 1000);
  CHECK(f16.cache_per_token == 5 * 2 * 4 * 8 * 2);
  CHECK(f32.cache_per_token == 2 * f16.cache_per_token);
  CHECK(f16.workspace >= workspace_bytes(config, 16) + 512 * 4);
  // Per token it is never less than the real cache.
  for (const std::int64_t tokens : {1, 3, 100})
    CHECK(f16.cache_per_token * static_cast<std::size_t>(tokens) >=
          KvCache::bytes(config, tokens, CacheTypes{}));
  CHECK(memory_needs(config, 1000, *backend, CacheTypes{}, 16, 256).workspace - f16.workspace ==
        2 * 255 * 512 * 4);
  // Every thread writes tiles of its own.
  CHECK(memory_needs(config, 1000, *make_backend("cpu", {4}), CacheTypes{}, 16, 1).workspace >
        f16.workspace + 2 * 384 * 172 * 4);
}

TEST_CASE("available memory is known and sizes are readable") {
  CHECK(available_memory() > 0);
  CHECK(human_bytes(512) == "0.5 KiB");
  CHECK(human_bytes(3 * kMiB / 2) == "1.5 MiB");
  CHECK(human_bytes(3072 * kMiB) == "3.00 GiB");
}

}  // namespace spqr
