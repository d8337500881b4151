// Cases of attention, their operands, and what comes out by the definition.
#pragma once

#include <algorithm>
#include <optional>

#include "tests/kernels/operands.h"

namespace spqr {

struct AttentionCase {
  std::int64_t tokens, first, heads, kv_heads, head_dim, sliding_window;
  CacheType type;  // of keys, and of values where nothing else is said
  bool alibi = false;
  std::optional<CacheType> other_type = {};  // of values
  float query_size = 1;                      // what queries are multiplied by, and the scale divided

  std::int64_t capacity() const { return first + tokens + 3; }
  CacheType value_type() const { return other_type.value_or(type); }
  AttentionShape shape() const {
    return {
        heads,
        head_dim,
        static_cast<float>(1 / std::sqrt(static_cast<double>(head_dim)) / static_cast<double>(query_size)),
        sliding_window,
        {}};
  }
  std::string text() const {
    return fmt::format("{} tokens after {}, {} heads on {}, {} wide, window {}, {} and {}{}", tokens, first,
                       heads, kv_heads, head_dim, sliding_window, name_of(type), name_of(value_type()),
                       alibi ? ", ALiBi" : "");
  }
};

// Keys or values as the cache holds them, (kv_heads, capacity, head_dim). Rows that no token may see are NaN.
inline std::vector<float> random_cache(const AttentionCase& c, CacheType type, std::mt19937& random) {
  std::vector<float> values = random_vector(c.kv_heads * c.capacity() * c.head_dim, random);
  std::vector<std::byte> stored(static_cast<std::size_t>(cache_row_bytes(type, c.head_dim)));
  for (std::size_t i = 0; i < values.size(); i += static_cast<std::size_t>(c.head_dim)) {
    store_cache_row(type, values.data() + i, c.head_dim, stored.data());
    load_cache_row(type, stored.data(), c.head_dim, values.data() + i);
  }
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::int64_t row = static_cast<std::int64_t>(i) / c.head_dim % c.capacity();
    if (row >= c.first + c.tokens) values[i] = NAN;
  }
  return values;
}

// What is added to scores, (heads, capacity): ALiBi, with slopes for which it matters. Rows that no token may
// see are NaN.
inline std::vector<float> biases(const AttentionCase& c) {
  std::vector<float> values;
  for (std::int64_t h = 0; c.alibi && h < c.heads; ++h) {
    for (std::int64_t p = 0; p < c.capacity(); ++p) {
      const bool visible = p < c.first + c.tokens;
      values.push_back(visible ? 0.3F * static_cast<float>(p) / static_cast<float>(h + 1) : NAN);
    }
  }
  return values;
}

// The definition. A score of head_dim products and what is added to it is off by e = (head_dim + 4) roundings
// of the sum of their sizes and its weight by the factor exp(2 e), as the normaliser is too; sums over the
// visible keys and running maxima add roundings of sum w |v|.
inline Expected expected_attention(const AttentionCase& c, const std::vector<float>& q,
                                   const std::vector<float>& k, const std::vector<float>& v,
                                   const std::vector<float>& alibi) {
  Expected expected;
  const double scale = static_cast<double>(c.shape().scale);
  for (std::int64_t t = 0; t < c.tokens; ++t) {
    const std::int64_t end = c.first + t + 1;
    const std::int64_t begin = c.sliding_window > 0 ? std::max<std::int64_t>(0, end - c.sliding_window) : 0;
    for (std::int64_t h = 0; h < c.heads; ++h) {
      const float* query = q.data() + (t * c.heads + h) * c.head_dim;
      const std::int64_t base = h / (c.heads / c.kv_heads) * c.capacity();
      std::vector<double> weights;
      double total = 0;
      double score_error = 0;
      for (std::int64_t p = begin; p < end; ++p) {
        double score = c.alibi ? alibi[static_cast<std::size_t>(h * c.capacity() + p)] : 0;
        double size = score;
        for (std::int64_t i = 0; i < c.head_dim; ++i) {
          const double product = static_cast<double>(query[i]) * k[(base + p) * c.head_dim + i];
          score += scale * product;
          size += scale * std::abs(product);
        }
        weights.push_back(std::exp(score));
        total += weights.back();
        score_error = std::max(score_error, static_cast<double>(c.head_dim + 4) * kUnit * size);
      }
      const double relative = 4 * score_error + static_cast<double>(2 * (end - begin) + 40) * kUnit;
      for (std::int64_t i = 0; i < c.head_dim; ++i) {
        double sum = 0;
        double size = 0;
        for (std::int64_t p = begin; p < end; ++p) {
          const double term =
              weights[static_cast<std::size_t>(p - begin)] / total * v[(base + p) * c.head_dim + i];
          sum += term;
          size += std::abs(term);
        }
        expected.values.push_back(sum);
        expected.tolerances.push_back(relative * size);
      }
    }
  }
  return expected;
}

inline Buffer upload_cache(Backend& backend, const std::vector<float>& values, CacheType type,
                           std::int64_t head_dim) {
  const std::int64_t row_bytes = cache_row_bytes(type, head_dim);
  const auto rows = static_cast<std::int64_t>(values.size()) / head_dim;
  std::vector<std::byte> stored(static_cast<std::size_t>(rows * row_bytes));
  for (std::int64_t r = 0; r < rows; ++r)
    store_cache_row(type, values.data() + r * head_dim, head_dim, stored.data() + r * row_bytes);
  Buffer buffer = backend.allocate(stored.size());
  backend.upload(buffer.data(), stored.data(), buffer.bytes());
  return buffer;
}

inline CachedRows rows_of(const Buffer& buffer, CacheType type) {
  return {static_cast<std::byte*>(buffer.data()), type};
}

// Random operands of a case, and what comes out.
struct AttentionValues {
  AttentionValues(const AttentionCase& c, std::mt19937& random)
      : q(random_vector(c.tokens * c.heads * c.head_dim, random, 2 * c.query_size)),
        k(random_cache(c, c.type, random)),
        v(random_cache(c, c.value_type(), random)),
        alibi(biases(c)),
        expected(expected_attention(c, q, k, v, alibi)) {}
  std::vector<float> q, k, v, alibi;
  Expected expected;
};

// Operands in a backend's memory, and room for the result.
class AttentionOperands {
 public:
  AttentionOperands(Backend& backend, const AttentionCase& c, const AttentionValues& values)
      : q_(backend, c.tokens, c.heads * c.head_dim, values.q),
        out_(backend, c.tokens, c.heads * c.head_dim),
        alibi_(backend, c.alibi ? c.heads : 0, c.capacity(), values.alibi),
        k_(upload_cache(backend, values.k, c.type, c.head_dim)),
        v_(upload_cache(backend, values.v, c.value_type(), c.head_dim)),
        cache_{rows_of(k_, c.type), rows_of(v_, c.value_type()), c.kv_heads, c.capacity(), c.head_dim},
        shape_(c.shape()) {
    if (c.alibi) shape_.alibi = alibi_.matrix();
  }
  Matrix q() const { return q_.matrix(); }
  Matrix out() const { return out_.matrix(); }
  const KvLayer& cache() const { return cache_; }
  const AttentionShape& shape() const { return shape_; }
  std::vector<float> result() const { return out_.values(); }

 private:
  Activations q_, out_, alibi_;
  Buffer k_, v_;
  KvLayer cache_;
  AttentionShape shape_;
};

}  // namespace spqr
