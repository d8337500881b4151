#include <doctest/doctest.h>

#include <algorithm>

#include "tests/kernels/operands.h"

namespace spqr {
namespace {

struct Case {
  std::int64_t tokens, first, heads, kv_heads, head_dim, sliding_window;
  CacheType type;
  bool alibi = false;

  std::int64_t capacity() const { return first + tokens + 3; }
  AttentionShape shape() const {
    return {heads,
            head_dim,
            static_cast<float>(1 / std::sqrt(static_cast<double>(head_dim))),
            sliding_window,
            {}};
  }
  std::string text() const {
    return fmt::format("{} tokens after {}, {} heads on {}, {} wide, window {}, {}", tokens, first, heads,
                       kv_heads, head_dim, sliding_window, name_of(type));
  }
};

// Keys or values as the cache holds them, (kv_heads, capacity, head_dim). Rows that no token may see are NaN.
std::vector<float> random_cache(const Case& c, std::mt19937& random) {
  std::vector<float> values = random_vector(c.kv_heads * c.capacity() * c.head_dim, random);
  std::vector<std::byte> stored(static_cast<std::size_t>(cache_row_bytes(c.type, c.head_dim)));
  for (std::size_t i = 0; i < values.size(); i += static_cast<std::size_t>(c.head_dim)) {
    store_cache_row(c.type, values.data() + i, c.head_dim, stored.data());
    load_cache_row(c.type, stored.data(), c.head_dim, values.data() + i);
  }
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::int64_t row = static_cast<std::int64_t>(i) / c.head_dim % c.capacity();
    if (row >= c.first + c.tokens) values[i] = NAN;
  }
  return values;
}

// What is added to scores, (heads, capacity): ALiBi, with slopes for which it matters. Rows that no token may
// see are NaN.
std::vector<float> biases(const Case& c) {
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
Expected attention(const Case& c, const std::vector<float>& q, const std::vector<float>& k,
                   const std::vector<float>& v, const std::vector<float>& alibi) {
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

Buffer upload_cache(Backend& backend, const std::vector<float>& values, CacheType type,
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

CachedRows rows_of(const Buffer& buffer, CacheType type) {
  return {static_cast<std::byte*>(buffer.data()), type};
}

void check_attention(const Case& c, std::mt19937& random) {
  const std::vector<float> q = random_vector(c.tokens * c.heads * c.head_dim, random, 2);
  const std::vector<float> k = random_cache(c, random);
  const std::vector<float> v = random_cache(c, random);
  const std::vector<float> alibi = biases(c);
  check_backends(c.text(), attention(c, q, k, v, alibi), [&](Backend& backend) {
    const Activations in(backend, c.tokens, c.heads * c.head_dim, q);
    const Activations out(backend, c.tokens, c.heads * c.head_dim);
    const Buffer keys = upload_cache(backend, k, c.type, c.head_dim);
    const Buffer values = upload_cache(backend, v, c.type, c.head_dim);
    const Activations added(backend, c.alibi ? c.heads : 0, c.capacity(), alibi);
    AttentionShape shape = c.shape();
    if (c.alibi) shape.alibi = added.matrix();
    backend.attention(out.matrix(), in.matrix(),
                      {rows_of(keys, c.type), rows_of(values, c.type), c.kv_heads, c.capacity(), c.head_dim},
                      c.first, shape);
    return out.values();
  });
}

}  // namespace

TEST_CASE("attention: prompts and single tokens, across blocks of queries and keys, windows, shared heads") {
  std::mt19937 random(1);
  const std::vector<Case> cases = {
      {1, 0, 1, 1, 2, 0, CacheType::f32},        // the first token sees itself
      {1, 0, 4, 2, 16, 0, CacheType::f16},       //
      {1, 255, 3, 3, 12, 0, CacheType::f32},     // one block of keys, whole
      {1, 256, 3, 1, 12, 0, CacheType::f16},     // and one more
      {1, 700, 32, 2, 64, 0, CacheType::f16},    // more query heads a kv head than the matrix product needs
      {3, 5, 6, 3, 20, 0, CacheType::f32},       // few tokens
      {64, 0, 4, 2, 32, 0, CacheType::f16},      // a block of queries, whole
      {65, 0, 2, 2, 64, 0, CacheType::f32},      // and one more
      {130, 400, 9, 3, 8, 0, CacheType::f16},    // a later piece of a prompt
      {1, 300, 4, 2, 16, 16, CacheType::f16},    // sliding window: far behind
      {1, 7, 4, 2, 16, 16, CacheType::f32},      // not yet full
      {100, 0, 4, 2, 16, 1, CacheType::f32},     // each sees itself only
      {150, 260, 4, 2, 16, 70, CacheType::f16},  // across blocks
      {1, 300, 4, 2, 64, 0, CacheType::q8_0},    // 8 bits: whole blocks of 32
      {1, 130, 4, 4, 20, 0, CacheType::q8_0},    // less than one, one head on one
      {40, 90, 6, 2, 50, 0, CacheType::q8_0},    // and a ragged one, a prompt
      {1, 0, 2, 2, 8, 0, CacheType::f32, true},  // ALiBi: the first token
      {1, 300, 6, 2, 16, 0, CacheType::f16, true},      // decoding, shared heads, across blocks
      {130, 200, 4, 4, 16, 0, CacheType::f32, true},    // a prompt
      {100, 150, 12, 2, 16, 40, CacheType::f16, true},  // and a window
      {1, 1300, 8, 2, 64, 0, CacheType::f16},           // few tokens after many: keys in parts
      {16, 1200, 4, 4, 48, 0, CacheType::f32},          // parts in which the first tokens see nothing
      {2, 9000, 1, 1, 16, 0, CacheType::f32},           // as many parts as there are at most
      {5, 1500, 6, 3, 32, 700, CacheType::q8_0},        // a window of two parts
      {40, 1500, 2, 1, 16, 0, CacheType::f16},          // a prompt of one block on one head, in parts
      {30, 1100, 24, 1, 16, 0, CacheType::f32},         // of several blocks, of which the first see less
      {30, 1100, 24, 1, 16, 600, CacheType::f16},       // and begin later
      {2, 1100, 6, 2, 24, 0, CacheType::f16, true}      // ALiBi
  };
  for (const Case& c : cases) check_attention(c, random);
}

TEST_CASE("attention: scores far apart neither overflow nor vanish") {
  // Key p has the score p - 300, beyond what exp of f32 holds: the last key takes nearly all, e^-1 the one
  // before.
  const std::int64_t keys = 600;
  std::vector<float> k;
  std::vector<float> v;
  double total = 0;
  double sum = 0;
  for (std::int64_t p = 0; p < keys; ++p) {
    k.push_back(static_cast<float>(p - 300));
    k.push_back(0);
    v.push_back(static_cast<float>(p));
    v.push_back(1);
    const double weight = std::exp(static_cast<double>(p - keys + 1));
    total += weight;
    sum += weight * static_cast<double>(p);
  }
  const Expected expected{{sum / total, 1}, {100 * kUnit * sum / total, 100 * kUnit}};
  check_backends("far apart", expected, [&](Backend& backend) {
    const Activations in(backend, 1, 2, {1, 0});
    const Activations out(backend, 1, 2);
    const Buffer key_buffer = upload_cache(backend, k, CacheType::f32, 2);
    const Buffer value_buffer = upload_cache(backend, v, CacheType::f32, 2);
    backend.attention(
        out.matrix(), in.matrix(),
        {rows_of(key_buffer, CacheType::f32), rows_of(value_buffer, CacheType::f32), 1, keys, 2}, keys - 1,
        {1, 2, 1.0F, 0});
    return out.values();
  });
}

}  // namespace spqr
