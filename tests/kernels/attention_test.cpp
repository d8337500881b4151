#include <doctest/doctest.h>

#include "tests/kernels/attention_cases.h"

namespace spqr {
namespace {

void check_attention(const AttentionCase& c, std::mt19937& random) {
  const AttentionValues values(c, random);
  check_backends(c.text(), values.expected, [&](Backend& backend) {
    const AttentionOperands operands(backend, c, values);
    backend.attention(operands.out(), operands.q(), operands.cache(), c.first, operands.shape());
    return operands.result();
  });
}

}  // namespace

TEST_CASE("attention: prompts and single tokens, across blocks of queries and keys, windows, shared heads") {
  std::mt19937 random(1);
  const std::vector<AttentionCase> cases = {
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
  for (const AttentionCase& c : cases) check_attention(c, random);
}

TEST_CASE("attention: every pair of cache types, single tokens and prompts") {
  std::mt19937 random(2);
  const std::vector<CacheType> types = {CacheType::f32, CacheType::f16, CacheType::q8_0};
  for (const CacheType keys : types) {
    for (const CacheType values : types) {
      // Rows of whole vectors, of which the last block of q8_0 is not whole, and rows of an odd size.
      for (const std::int64_t head_dim : {40, 19}) {
        check_attention({1, 37, 4, 2, head_dim, 0, keys, false, values}, random);
        check_attention({20, 37, 4, 2, head_dim, 0, keys, false, values}, random);
      }
    }
  }
}

TEST_CASE("attention: widths of heads") {
  std::mt19937 random(3);
  for (const std::int64_t head_dim : {1, 2, 7, 8, 9, 63, 64, 65, 72, 80, 96, 127, 128, 129, 136, 200, 256}) {
    check_attention({1, 70, 2, 1, head_dim, 0, CacheType::f16}, random);
    check_attention({10, 30, 2, 2, head_dim, 0, CacheType::f16}, random);
    check_attention({10, 30, 2, 1, head_dim, 0, CacheType::q8_0}, random);
  }
}

TEST_CASE("attention: numbers of tokens and of query heads on a kv head") {
  std::mt19937 random(4);
  for (const std::int64_t heads_per_kv : {1, 3, 8, 71}) {
    for (const std::int64_t tokens : {1, 2, 7, 8, 9, 33}) {
      check_attention({tokens, 20, heads_per_kv, 1, 8, 0, CacheType::f16}, random);
      check_attention({tokens, 20, 2 * heads_per_kv, 2, 8, 11, CacheType::f32, true}, random);
    }
  }
}

TEST_CASE("attention: numbers of visible rows around the ends of tiles and splits") {
  std::mt19937 random(5);
  for (const std::int64_t visible : {16, 32, 64, 128, 256, 512}) {
    for (const std::int64_t beyond : {-1, 0, 1}) {
      for (const CacheType type : {CacheType::f32, CacheType::f16}) {
        check_attention({1, visible + beyond - 1, 2, 1, 16, 0, type}, random);
        check_attention({9, visible + beyond, 2, 1, 16, 0, type}, random);  // the ends lie between the tokens
        check_attention({10, 600, 1, 1, 16, visible + beyond, type}, random);
      }
    }
  }
}

TEST_CASE("attention: queries that f16 does not hold, whose scores are as always") {
  std::mt19937 random(6);
  for (const float size : {1e30F, 1e6F, 1e-6F, 1e-30F}) {
    check_attention({1, 40, 2, 1, 16, 0, CacheType::f16, false, {}, size}, random);
    check_attention({10, 40, 2, 1, 16, 0, CacheType::f16, false, {}, size}, random);
  }
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
