#include <doctest/doctest.h>

#include "tests/kernels/operands.h"

namespace spqr {
namespace {

// The rotation by angle = f32(position * inverse_frequency). A rotated value is two products and a sum with
// sine and cosine rounded to f32: four roundings of |a| + |b|.
Expected rotate(const std::vector<float>& x, std::int64_t cols, std::int64_t head_dim,
                const std::vector<float>& inverse_frequency, std::int64_t first) {
  Expected expected;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const std::int64_t position = first + static_cast<std::int64_t>(i) / cols;
    const std::int64_t dim = static_cast<std::int64_t>(i) % head_dim;
    const bool low = dim < head_dim / 2;
    const std::int64_t pair = low ? dim : dim - head_dim / 2;
    const double partner =
        low ? -x[i + static_cast<std::size_t>(head_dim / 2)] : x[i - static_cast<std::size_t>(head_dim / 2)];
    const float angle = static_cast<float>(position) * inverse_frequency[static_cast<std::size_t>(pair)];
    expected.values.push_back(x[i] * std::cos(static_cast<double>(angle)) +
                              partner * std::sin(static_cast<double>(angle)));
    expected.tolerances.push_back(4 * kUnit * (std::abs(static_cast<double>(x[i])) + std::abs(partner)));
  }
  return expected;
}

// What storing value i of rows of head_dim changes it by at most. An f16 keeps 11 bits; of q8_0, codes are of
// a scale that has been rounded to 11 bits, and may be cut off at 127 of it.
double rounding_of(CacheType type, const std::vector<double>& values, std::size_t i, std::int64_t head_dim) {
  if (type == CacheType::f32) return 0;
  if (type == CacheType::f16) return 0x1p-11 * std::abs(values[i]) + 0x1p-24;
  const std::size_t row = i / static_cast<std::size_t>(head_dim) * static_cast<std::size_t>(head_dim);
  const std::size_t first = row + (i - row) / kCacheBlock * kCacheBlock;
  const std::size_t end = std::min(first + kCacheBlock, row + static_cast<std::size_t>(head_dim));
  double largest = 0;
  for (std::size_t j = first; j < end; ++j) largest = std::max(largest, std::abs(values[j]));
  return largest / 127 * (0.5 + 127 * 0x1p-11) + 0x1p-24;
}

struct Case {
  std::int64_t tokens, first, heads, kv_heads, head_dim;
  CacheType type;
};

// Cache contents in the order of (tokens, kv_heads * head_dim); what is not a cache row of these tokens must
// be as it was.
std::vector<float> cached(Backend& backend, const Buffer& buffer, const Case& c, std::int64_t capacity) {
  const auto count = static_cast<std::size_t>(c.kv_heads * capacity * c.head_dim);
  std::vector<float> all(count);
  std::vector<std::byte> stored(buffer.bytes());
  backend.download(stored.data(), buffer.data(), buffer.bytes());
  for (std::int64_t r = 0; r < c.kv_heads * capacity; ++r)
    load_cache_row(c.type, stored.data() + r * cache_row_bytes(c.type, c.head_dim), c.head_dim,
                   all.data() + r * c.head_dim);
  std::vector<float> rows;
  for (std::int64_t t = 0; t < c.tokens; ++t) {
    for (std::int64_t h = 0; h < c.kv_heads; ++h) {
      float* row = all.data() + (h * capacity + c.first + t) * c.head_dim;
      rows.insert(rows.end(), row, row + c.head_dim);
      std::fill(row, row + c.head_dim, 0.0F);
    }
  }
  CHECK(all == std::vector<float>(count, 0.0F));
  return rows;
}

// q, then the k and v of the cache.
std::vector<float> run(Backend& backend, const Case& c, const std::vector<float>& inverse_frequency,
                       const std::vector<float>& q, const std::vector<float>& k,
                       const std::vector<float>& v) {
  const std::int64_t capacity = c.first + c.tokens + 2;
  const Activations queries(backend, c.tokens, c.heads * c.head_dim, q);
  const Activations keys(backend, c.tokens, c.kv_heads * c.head_dim, k);
  const Activations values(backend, c.tokens, c.kv_heads * c.head_dim, v);
  const std::vector<std::byte> zeros(
      static_cast<std::size_t>(c.kv_heads * capacity * cache_row_bytes(c.type, c.head_dim)));
  const Buffer key_buffer = backend.allocate(zeros.size());
  const Buffer value_buffer = backend.allocate(zeros.size());
  backend.upload(key_buffer.data(), zeros.data(), zeros.size());
  backend.upload(value_buffer.data(), zeros.data(), zeros.size());
  backend.rope_append(queries.matrix(), keys.matrix(), values.matrix(), {inverse_frequency},
                      {{static_cast<std::byte*>(key_buffer.data()), c.type},
                       {static_cast<std::byte*>(value_buffer.data()), c.type},
                       c.kv_heads,
                       capacity,
                       c.head_dim},
                      c.first);
  std::vector<float> all = queries.values();
  for (const Buffer* buffer : {&key_buffer, &value_buffer}) {
    const std::vector<float> rows = cached(backend, *buffer, c, capacity);
    all.insert(all.end(), rows.begin(), rows.end());
  }
  return all;
}

// Bytes of the keys, then of the values, after two tokens of the same numbers were stored without rotation.
std::vector<std::byte> stored_bytes(Backend& backend, CacheType type, std::int64_t head_dim,
                                    const std::vector<float>& rows) {
  const auto kv_heads = static_cast<std::int64_t>(rows.size()) / (2 * head_dim);
  const Activations keys(backend, 2, kv_heads * head_dim, rows);
  const Activations values(backend, 2, kv_heads * head_dim, rows);
  std::vector<std::byte> bytes(static_cast<std::size_t>(kv_heads * 4 * cache_row_bytes(type, head_dim)),
                               std::byte{0xA5});
  const Buffer key_buffer = backend.allocate(bytes.size());
  const Buffer value_buffer = backend.allocate(bytes.size());
  backend.upload(key_buffer.data(), bytes.data(), bytes.size());
  backend.upload(value_buffer.data(), bytes.data(), bytes.size());
  backend.rope_append(keys.matrix(), keys.matrix(), values.matrix(), {},
                      {{static_cast<std::byte*>(key_buffer.data()), type},
                       {static_cast<std::byte*>(value_buffer.data()), type},
                       kv_heads,
                       4,
                       head_dim},
                      1);
  bytes.resize(2 * bytes.size());
  backend.download(bytes.data(), key_buffer.data(), key_buffer.bytes());
  backend.download(bytes.data() + key_buffer.bytes(), value_buffer.data(), value_buffer.bytes());
  return bytes;
}

}  // namespace

TEST_CASE("rope_append: stores the same bytes everywhere, whatever is stored") {
  std::mt19937 random(3);
  for (const CacheType type : {CacheType::f32, CacheType::f16, CacheType::q8_0}) {
    for (const std::int64_t head_dim : {1, 2, 31, 32, 33, 64, 80, 129}) {
      // Rows of ordinary numbers, zeros, subnormal scales, ties between codes, and what overflows f16.
      std::vector<float> rows = random_vector(6 * head_dim, random, 3);
      for (std::int64_t i = 0; i < head_dim; ++i) {
        const auto at = static_cast<std::size_t>(i);
        const auto row = static_cast<std::size_t>(head_dim);
        rows[row + at] = i % 2 == 0 ? 0.0F : -0.0F;
        rows[2 * row + at] *= 1e-6F;
        rows[3 * row + at] = i == 0 ? 127.0F : static_cast<float>(i) - 40.5F;
        rows[4 * row + at] *= 1e7F;
      }
      // Blocks with an infinity and, of q8_0, whose scale has one bit pattern, with a NaN too.
      rows[static_cast<std::size_t>(5 * head_dim)] = -INFINITY;
      if (type == CacheType::q8_0) rows.back() = NAN;
      const auto expected = stored_bytes(*make_backend("reference", {}), type, head_dim, rows);
      for (const auto& [name, isa] : all_backends()) {
        INFO(name, " (", isa, "), ", name_of(type), ", ", head_dim, " wide");
        CHECK(stored_bytes(*make_backend(name, {.threads = 1, .isa = isa}), type, head_dim, rows) ==
              expected);
      }
    }
  }
}

TEST_CASE("rope_append: without frequencies nothing is rotated, and all is stored") {
  std::mt19937 random(2);
  const Case c{5, 7, 4, 2, 8, CacheType::f32};
  const std::vector<float> q = random_vector(c.tokens * c.heads * c.head_dim, random);
  const std::vector<float> k = random_vector(c.tokens * c.kv_heads * c.head_dim, random);
  const std::vector<float> v = random_vector(c.tokens * c.kv_heads * c.head_dim, random);
  Expected expected;
  for (const auto* values : {&q, &k, &v}) {
    expected.values.insert(expected.values.end(), values->begin(), values->end());
  }
  expected.tolerances.assign(expected.values.size(), 0);
  check_backends("no rotation", expected, [&](Backend& backend) { return run(backend, c, {}, q, k, v); });
}

TEST_CASE("rope_append: rotates q and k, stores k and v where they belong and nowhere else") {
  std::mt19937 random(1);
  for (const Case& c : {Case{1, 0, 1, 1, 2, CacheType::f32}, Case{1, 5000, 4, 2, 16, CacheType::f16},
                        Case{7, 3, 6, 3, 12, CacheType::f16}, Case{70, 100, 9, 3, 64, CacheType::f32},
                        Case{33, 0, 2, 2, 128, CacheType::f16}, Case{1, 10, 4, 2, 64, CacheType::q8_0},
                        Case{9, 4, 6, 3, 50, CacheType::q8_0}, Case{2, 131000, 3, 1, 6, CacheType::f32},
                        Case{300, 0, 4, 2, 2, CacheType::q8_0}}) {
    std::vector<float> inverse_frequency;
    for (std::int64_t i = 0; i < c.head_dim / 2; ++i) {
      inverse_frequency.push_back(
          std::pow(10000.0F, -2 * static_cast<float>(i) / static_cast<float>(c.head_dim)));
    }
    const std::vector<float> q = random_vector(c.tokens * c.heads * c.head_dim, random);
    const std::vector<float> k = random_vector(c.tokens * c.kv_heads * c.head_dim, random);
    const std::vector<float> v = random_vector(c.tokens * c.kv_heads * c.head_dim, random);
    Expected expected = rotate(q, c.heads * c.head_dim, c.head_dim, inverse_frequency, c.first);
    const Expected keys = rotate(k, c.kv_heads * c.head_dim, c.head_dim, inverse_frequency, c.first);
    for (std::size_t i = 0; i < k.size(); ++i) {
      expected.values.push_back(keys.values[i]);
      expected.tolerances.push_back(keys.tolerances[i] + rounding_of(c.type, keys.values, i, c.head_dim));
    }
    const std::vector<double> values(v.begin(), v.end());
    for (std::size_t i = 0; i < v.size(); ++i) {
      expected.values.push_back(values[i]);
      expected.tolerances.push_back(rounding_of(c.type, values, i, c.head_dim));
    }
    check_backends(fmt::format("{} tokens after {}, {}", c.tokens, c.first, name_of(c.type)), expected,
                   [&](Backend& backend) { return run(backend, c, inverse_frequency, q, k, v); });
  }
}

}  // namespace spqr
