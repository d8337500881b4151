#include <doctest/doctest.h>

#include "kernels/half.h"
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

struct Case {
  std::int64_t tokens, first, heads, kv_heads, head_dim;
  DType dtype;
};

// Cache contents in the order of (tokens, kv_heads * head_dim); what is not a cache row of these tokens must
// be as it was.
std::vector<float> cached(Backend& backend, const Buffer& buffer, const Case& c, std::int64_t capacity) {
  const auto count = static_cast<std::size_t>(c.kv_heads * capacity * c.head_dim);
  std::vector<float> all(count);
  if (c.dtype == DType::f32) {
    backend.download(all.data(), buffer.data(), buffer.bytes());
  } else {
    std::vector<std::uint16_t> narrow(count);
    backend.download(narrow.data(), buffer.data(), buffer.bytes());
    f16_to_f32(narrow.data(), all.data(), count);
  }
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
  const std::vector<std::byte> zeros(static_cast<std::size_t>(c.kv_heads * capacity * c.head_dim) *
                                     size_of(c.dtype));
  const Buffer key_buffer = backend.allocate(zeros.size());
  const Buffer value_buffer = backend.allocate(zeros.size());
  backend.upload(key_buffer.data(), zeros.data(), zeros.size());
  backend.upload(value_buffer.data(), zeros.data(), zeros.size());
  backend.rope_append(queries.matrix(), keys.matrix(), values.matrix(), {inverse_frequency},
                      {key_buffer.data(), value_buffer.data(), c.dtype, c.kv_heads, capacity, c.head_dim},
                      c.first);
  std::vector<float> all = queries.values();
  for (const Buffer* buffer : {&key_buffer, &value_buffer}) {
    const std::vector<float> rows = cached(backend, *buffer, c, capacity);
    all.insert(all.end(), rows.begin(), rows.end());
  }
  return all;
}

}  // namespace

TEST_CASE("rope_append: without frequencies nothing is rotated, and all is stored") {
  std::mt19937 random(2);
  const Case c{5, 7, 4, 2, 8, DType::f32};
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
  for (const Case& c : {Case{1, 0, 1, 1, 2, DType::f32}, Case{1, 5000, 4, 2, 16, DType::f16},
                        Case{7, 3, 6, 3, 12, DType::f16}, Case{70, 100, 9, 3, 64, DType::f32},
                        Case{33, 0, 2, 2, 128, DType::f16}}) {
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
    // An f16 keeps 11 bits.
    const double stored = c.dtype == DType::f16 ? 0x1p-11 : 0.0;
    for (std::size_t i = 0; i < k.size(); ++i) {
      expected.values.push_back(keys.values[i]);
      expected.tolerances.push_back(keys.tolerances[i] + stored * std::abs(keys.values[i]) +
                                    stored * 0x1p-13);
    }
    for (const float value : v) {
      expected.values.push_back(c.dtype == DType::f16 ? round_to_f16(value) : value);
      expected.tolerances.push_back(0);
    }
    check_backends(fmt::format("{} tokens after {}, {}", c.tokens, c.first, name_of(c.dtype)), expected,
                   [&](Backend& backend) { return run(backend, c, inverse_frequency, q, k, v); });
  }
}

}  // namespace spqr
