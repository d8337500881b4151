// Attention over a filled cache, for operation_bench.
#include <cmath>
#include <random>
#include <stdexcept>

#include "kernels/threads.h"
#include "runtime/timed_operation.h"

namespace spqr {
namespace {

constexpr std::uint64_t kQuerySeed = 2;

class TimedAttention final : public TimedOperation {
 public:
  TimedAttention(const OperationCase& what, Backend& backend)
      : backend_(backend),
        depth_(what.depth),
        kv_heads_(what.kv_heads),
        capacity_(what.depth + what.tokens),
        types_(what.cache_types),
        shape_{.heads = what.heads,
               .head_dim = what.head_dim,
               .scale = 1 / std::sqrt(static_cast<float>(what.head_dim))},
        q_(backend, what.tokens, what.heads * what.head_dim, kQuerySeed),
        out_(backend, what.tokens, what.heads * what.head_dim) {
    const std::vector<std::byte> k = random_rows(types_.k);
    const std::vector<std::byte> v = random_rows(types_.v);
    for (std::int64_t copy = copies_of(k.size() + v.size(), backend); copy > 0; --copy)
      caches_.emplace_back(backend, k, v);
  }

  std::int64_t copies() const override { return static_cast<std::int64_t>(caches_.size()); }

  Work work() const override {
    const Matrix q = q_.matrix();
    const double visible =
        static_cast<double>(q.rows) * (static_cast<double>(depth_) + static_cast<double>(q.rows + 1) / 2);
    return {.bytes = static_cast<double>(caches_[0].k.bytes() + caches_[0].v.bytes()) +
                     2 * sizeof(float) * static_cast<double>(q.rows * q.cols),
            .flop = 4 * static_cast<double>(q.cols) * visible};
  }

  void run(std::int64_t copy) override {
    backend_.attention(out_.matrix(), q_.matrix(), layer(caches_[static_cast<std::size_t>(copy)]), depth_,
                       shape_);
  }

  std::vector<float> result(const std::vector<std::int64_t>& tokens) const override {
    return out_.copy(backend_, tokens).download();
  }

  std::vector<float> compute(Backend& other, const std::vector<std::int64_t>& tokens) const override {
    std::vector<std::byte> k(caches_[0].k.bytes());
    std::vector<std::byte> v(caches_[0].v.bytes());
    backend_.download(k.data(), caches_[0].k.data(), k.size());
    backend_.download(v.data(), caches_[0].v.data(), v.size());
    const Cache cache(other, k, v);
    std::vector<float> all;
    for (const std::int64_t token : tokens) {
      const BackendRows q = q_.copy(other, {token});
      const BackendRows out(other, 1, q.matrix().cols);
      other.attention(out.matrix(), q.matrix(), layer(cache), depth_ + token, shape_);
      const std::vector<float> values = out.download();
      all.insert(all.end(), values.begin(), values.end());
    }
    return all;
  }

 private:
  struct Cache {
    Cache(Backend& backend, const std::vector<std::byte>& keys, const std::vector<std::byte>& values)
        : k(backend.allocate(keys.size())), v(backend.allocate(values.size())) {
      backend.upload(k.data(), keys.data(), keys.size());
      backend.upload(v.data(), values.data(), values.size());
    }
    Buffer k, v;
  };

  KvLayer layer(const Cache& cache) const {
    return {.k = {static_cast<std::byte*>(cache.k.data()), types_.k},
            .v = {static_cast<std::byte*>(cache.v.data()), types_.v},
            .kv_heads = kv_heads_,
            .capacity = capacity_,
            .head_dim = shape_.head_dim};
  }

  // (kv_heads, capacity) rows
  std::vector<std::byte> random_rows(CacheType type) const {
    const std::int64_t row_bytes = cache_row_bytes(type, shape_.head_dim);
    std::vector<std::byte> rows(static_cast<std::size_t>(kv_heads_ * capacity_ * row_bytes));
    parallel_for(kv_heads_ * capacity_, [&](std::int64_t row) {
      std::mt19937_64 random(static_cast<std::uint64_t>(row));
      std::uniform_real_distribution<float> uniform(-2, 2);
      std::vector<float> values(static_cast<std::size_t>(shape_.head_dim));
      for (float& value : values) value = uniform(random);
      store_cache_row(type, values.data(), shape_.head_dim, rows.data() + row * row_bytes);
    });
    return rows;
  }

  Backend& backend_;
  std::int64_t depth_;
  std::int64_t kv_heads_;
  std::int64_t capacity_;
  CacheTypes types_;
  AttentionShape shape_;
  std::vector<Cache> caches_;
  BackendRows q_;    // (tokens, heads * head_dim)
  BackendRows out_;  // the same
};

}  // namespace

std::size_t attention_operand_bytes(const OperationCase& what, const Backend& backend) {
  const auto rows = static_cast<std::size_t>(what.kv_heads * (what.depth + what.tokens));
  const auto row_bytes =
      cache_row_bytes(what.cache_types.k, what.head_dim) + cache_row_bytes(what.cache_types.v, what.head_dim);
  const std::size_t original = rows * static_cast<std::size_t>(row_bytes);
  // The reference computes with a copy of its own, made of what it downloads.
  return original * (2 + static_cast<std::size_t>(copies_of(original, backend)));
}

std::unique_ptr<TimedOperation> make_timed_attention(const OperationCase& what, Backend& backend) {
  if (what.heads % what.kv_heads != 0)
    throw std::invalid_argument("the heads of queries are no multiple of those of keys and values");
  return std::make_unique<TimedAttention>(what, backend);
}

}  // namespace spqr
