#include <doctest/doctest.h>

#include <array>
#include <optional>

#include "tests/kernels/random_linear.h"

namespace spqr {
namespace {

// added + W x + b. A sum of n products in f32, in any order, is off by at most n + 1 roundings of the sum of
// their sizes; dequantizing a packed weight adds six, a normalised x n / 2 + 8 (see rms_norm_test), bias and
// addition two.
void append_product(Expected& expected, const RandomLinear& w, const float* x, const double* x_norm,
                    std::int64_t n, const float* added) {
  const double roundings =
      static_cast<double>(n) + (x_norm != nullptr ? static_cast<double>(n) / 2 + 8 : 0) + 9;
  for (std::int64_t i = 0; i < w.linear.m(); ++i) {
    double sum = w.bias.empty() ? 0 : static_cast<double>(w.bias[static_cast<std::size_t>(i)]);
    if (added != nullptr) sum += static_cast<double>(added[i]);
    double size = std::abs(sum);
    for (std::int64_t j = 0; j < n; ++j) {
      const double input = x_norm != nullptr ? x_norm[j] : static_cast<double>(x[j]);
      sum += w.values[static_cast<std::size_t>(i * n + j)] * input;
      size += w.sizes[static_cast<std::size_t>(i * n + j)] * std::abs(input);
    }
    expected.values.push_back(sum);
    expected.tolerances.push_back(roundings * kUnit * size);
  }
}

using Members = std::vector<std::unique_ptr<RandomLinear>>;

LinearGroup group_of(const Members& members, const std::vector<std::uint32_t>& perm) {
  LinearGroup group;
  for (const auto& member : members) group.members.push_back(member->linear);
  group.perm = perm;
  return group;
}

void check_group(const Members& members, const std::vector<std::uint32_t>& perm, std::int64_t tokens,
                 const std::vector<float>* norm_weight, const std::string& what, std::mt19937& random) {
  const std::int64_t n = members.front()->linear.n();
  const std::vector<float> x = random_vector(tokens * n, random);
  std::vector<double> normed;
  constexpr float kEps = 1e-3F;
  for (std::int64_t t = 0; norm_weight != nullptr && t < tokens; ++t) {
    double squares = 0;
    for (std::int64_t j = 0; j < n; ++j) squares += static_cast<double>(x[t * n + j]) * x[t * n + j];
    const double root = std::sqrt(squares / static_cast<double>(n) + static_cast<double>(kEps));
    for (std::int64_t j = 0; j < n; ++j)
      normed.push_back(x[t * n + j] / root * (*norm_weight)[static_cast<std::size_t>(j)]);
  }
  Expected expected;
  for (const auto& member : members) {
    for (std::int64_t t = 0; t < tokens; ++t) {
      append_product(expected, *member, x.data() + t * n,
                     norm_weight != nullptr ? normed.data() + t * n : nullptr, n, nullptr);
    }
  }
  check_backends(what, expected, [&](Backend& backend) {
    const Activations in(backend, tokens, n, x);
    std::vector<Activations> out;
    std::vector<Matrix> ys;
    for (const auto& member : members) {
      out.emplace_back(backend, tokens, member->linear.m());
      ys.push_back(out.back().matrix());
    }
    const LinearGroup placed = backend.place(group_of(members, perm));
    const Norm norm = norm_weight != nullptr ? backend.place(Norm{*norm_weight, kEps}) : Norm{};
    backend.linear_group(ys, placed, in.matrix(), norm_weight != nullptr ? &norm : nullptr);
    CHECK(in.values() == x);
    std::vector<float> all;
    for (const Activations& y : out) {
      const std::vector<float> values = y.values();
      all.insert(all.end(), values.begin(), values.end());
    }
    return all;
  });
}

const std::vector<std::optional<DType>> kKinds = {DType::f32, DType::f16, DType::bf16, std::nullopt};

std::string kind_text(const std::optional<DType>& kind) {
  return kind ? std::string(name_of(*kind)) : "packed";
}

}  // namespace

TEST_CASE("linear_group: one matrix of every kind, ragged and across tiles, one token and many") {
  std::mt19937 random(1);
  struct Shape {
    std::int64_t m, n, tokens;
  };
  for (const Shape& s :
       {Shape{1, 1, 1}, Shape{3, 5, 2}, Shape{70, 37, 1}, Shape{64, 64, 4}, Shape{65, 130, 5},
        Shape{193, 40, 6}, Shape{10, 9, 513}, Shape{300, 520, 1}, Shape{400, 33, 17}, Shape{209, 600, 260}}) {
    for (const auto& kind : kKinds) {
      for (const bool bias : {false, true}) {
        Members members;
        members.push_back(random_linear(kind, s.m, s.n, bias, {}, random));
        check_group(members, {}, s.tokens, nullptr,
                    fmt::format("{} {} x {}, {} tokens, bias {}", kind_text(kind), s.m, s.n, s.tokens, bias),
                    random);
      }
    }
  }
}

TEST_CASE("linear_group: permuted packed members beside dense ones, with a norm") {
  std::mt19937 random(2);
  for (const std::int64_t n : {1, 24, 200}) {
    for (const std::int64_t tokens : {1, 3, 30}) {
      const std::vector<std::uint32_t> perm = random_permutation(n, random);
      const std::vector<float> norm = random_vector(n, random);
      Members members;
      members.push_back(random_linear(std::nullopt, 50, n, true, perm, random));
      members.push_back(random_linear(DType::f16, 7, n, false, perm, random));
      members.push_back(random_linear(std::nullopt, 100, n, false, perm, random));
      check_group(members, perm, tokens, nullptr, fmt::format("n {}, {} tokens", n, tokens), random);
      check_group(members, perm, tokens, &norm, fmt::format("n {}, {} tokens, norm", n, tokens), random);
    }
  }
}

// What activations in 16 bits may be off by, beside f32's rounding: half a step for each x, a step being
// 1/32639 of the largest in its block; or, of many tokens, the rounding of x and of the weight to 8 bits of
// mantissa each.
double rounding_of(const double* weights, const float* x, std::int64_t n, std::int64_t tokens) {
  constexpr std::int64_t kManyTokens = 17;
  double largest = 0;
  double largest_weight = 0;
  double sum = 0;
  double sum_x = 0;
  double products = 0;
  for (std::int64_t j = 0; j < n; ++j) {
    largest = std::max(largest, std::abs(static_cast<double>(x[j])));
    largest_weight = std::max(largest_weight, std::abs(weights[j]));
    sum += std::abs(weights[j]);
    sum_x += std::abs(static_cast<double>(x[j]));
    products += std::abs(weights[j] * x[j]);
  }
  const double integers = sum * largest / (2 * 32639);
  // An outlier is added to a dense part that has been rounded already, and may be larger than the sum.
  // What rounding leaves of the first 32 weights is multiplied too.
  const bool refined = n <= 32 && n % 2 == 0;
  const double bf16 = refined ? (0x1p-8 + 0x1p-15) * products + 0x1p-15 * largest_weight * sum_x
                              : 0x1p-7 * products + 0x1p-8 * largest_weight * sum_x;
  return tokens < kManyTokens ? integers : std::max(integers, bf16);
}

// What two parts of x and of the weight, bf16 each, leave of their product: what is left of both, and the
// product of the low parts, are 2^-16 of it at most each.
double rest_of_parts(const double* weights, const float* x, std::int64_t n, std::int64_t /*tokens*/) {
  double products = 0;
  for (std::int64_t j = 0; j < n; ++j) products += std::abs(weights[j] * static_cast<double>(x[j]));
  return 3 * 0x1p-16 * products;
}

// rounding(weights, x, n, tokens): what an element may be off by, beside f32's rounding.
template <typename Rounding>
void check_instruction_sets(const Members& members, const std::vector<std::uint32_t>& perm, std::int64_t n,
                            std::int64_t tokens, const Rounding& rounding, const std::string& what,
                            std::mt19937& random) {
  const std::vector<float> x = random_vector(tokens * n, random);
  std::vector<Expected> expected(members.size());
  for (std::size_t i = 0; i < members.size(); ++i) {
    for (std::int64_t t = 0; t < tokens; ++t)
      append_product(expected[i], *members[i], x.data() + t * n, nullptr, n, nullptr);
    const std::int64_t m = members[i]->linear.m();
    for (std::int64_t k = 0; k < tokens * m; ++k) {
      expected[i].tolerances[static_cast<std::size_t>(k)] +=
          rounding(members[i]->values.data() + k % m * n, x.data() + k / m * n, n, tokens);
    }
  }
  for (const Isa isa : present_isas()) {
    const auto backend = make_backend("cpu", {.threads = 2, .isa = name_of(isa)});
    const Activations in(*backend, tokens, n, x);
    std::vector<Activations> out;
    std::vector<Matrix> ys;
    for (const auto& member : members) {
      out.emplace_back(*backend, tokens, member->linear.m());
      ys.push_back(out.back().matrix());
    }
    backend->linear_group(ys, group_of(members, perm), in.matrix(), nullptr);
    for (std::size_t i = 0; i < members.size(); ++i) {
      check_close(
          out[i].values(), expected[i],
          fmt::format("{}, {}, {} x {}, {} tokens", name_of(isa), what, members[i]->linear.m(), n, tokens));
    }
  }
}

TEST_CASE("linear_group: activations in 16 bits, few tokens and many, on every instruction set") {
  std::mt19937 random(4);
  for (const std::int64_t inputs : {7, 30, 300, 513, 1120}) {
    for (const std::int64_t tokens : {1, 3, 12, 13, 17, 40, 200}) {
      const std::vector<std::uint32_t> perm = random_permutation(inputs, random);
      Members members;
      for (const std::int64_t m : {50, 130})
        members.push_back(random_linear(std::nullopt, m, inputs, true, perm, random));
      check_instruction_sets(members, perm, inputs, tokens, rounding_of, "packed", random);
    }
  }
}

TEST_CASE("linear_group: dense weights of 16 bits and many tokens, on every instruction set") {
  std::mt19937 random(6);
  for (const DType type : {DType::f16, DType::bf16}) {
    for (const std::int64_t n : {1, 31, 96, 576, 1089}) {
      for (const std::int64_t tokens : {13, 16, 45, 200}) {
        Members members;
        for (const std::int64_t m : {37, 130}) members.push_back(random_linear(type, m, n, true, {}, random));
        check_instruction_sets(members, {}, n, tokens, rest_of_parts, std::string(name_of(type)), random);
      }
    }
  }
}

TEST_CASE("linear_group: dense products on both sides of every number of tokens that a kernel is made for") {
  std::mt19937 random(5);
  for (const auto& kind :
       {std::optional(DType::f32), std::optional(DType::f16), std::optional(DType::bf16)}) {
    for (const std::int64_t n : {72, 264, 271}) {
      for (const std::int64_t tokens : {1, 2, 3, 8, 9, 32, 33, 65}) {
        Members members;
        for (const std::int64_t m : {1, 63, 130})
          members.push_back(random_linear(kind, m, n, m == 63, {}, random));
        check_group(members, {}, tokens, nullptr,
                    fmt::format("{}, n {}, {} tokens", kind_text(kind), n, tokens), random);
      }
    }
  }
}

TEST_CASE("linear_group: large activations, sums that cancel, numbers far apart") {
  std::mt19937 random(6);
  const std::int64_t n = 200;
  for (const auto& kind : kKinds) {
    for (const std::int64_t tokens : {1, 7, 50}) {
      Members members;
      members.push_back(random_linear(kind, 70, n, true, {}, random));
      const RandomLinear& w = *members.front();
      std::vector<float> x = random_vector(tokens * n, random);
      for (std::int64_t t = 0; t < tokens; ++t) {
        float* token = x.data() + t * n;
        const std::int64_t row = t % w.linear.m();
        // 1e4 times ordinary numbers; orthogonal to a row of W; 2^-40 .. 2^40 side by side.
        for (std::int64_t j = 0; j < n; ++j) {
          if (t % 3 == 0) token[j] *= 1e4F;
          if (t % 3 == 2) token[j] = std::ldexp(token[j], static_cast<int>(j * 80 / n) - 40);
        }
        for (std::int64_t j = 0; t % 3 == 1 && j + 1 < n; j += 2) {
          const auto at = static_cast<std::size_t>(row * n + j);
          token[j] = static_cast<float>(1e4 * w.values[at + 1]);
          token[j + 1] = static_cast<float>(-1e4 * w.values[at]);
        }
      }
      Expected expected;
      for (std::int64_t t = 0; t < tokens; ++t)
        append_product(expected, w, x.data() + t * n, nullptr, n, nullptr);
      check_backends(fmt::format("{}, {} tokens", kind_text(kind), tokens), expected, [&](Backend& backend) {
        const Activations in(backend, tokens, n, x);
        const Activations out(backend, tokens, w.linear.m());
        backend.linear_group(std::array{out.matrix()}, backend.place(group_of(members, {})), in.matrix(),
                             nullptr);
        return out.values();
      });
    }
  }
}

TEST_CASE("linear_add: x += W a + b") {
  std::mt19937 random(3);
  for (const auto& kind : kKinds) {
    for (const std::int64_t tokens : {1, 4, 5, 600}) {
      const std::int64_t m = 33;
      const std::int64_t n = 50;
      const std::vector<std::uint32_t> perm = random_permutation(n, random);
      Members members;
      members.push_back(random_linear(kind, m, n, tokens % 2 == 0, perm, random));
      const std::vector<float> x = random_vector(tokens * m, random);
      const std::vector<float> a = random_vector(tokens * n, random);
      Expected expected;
      for (std::int64_t t = 0; t < tokens; ++t) {
        append_product(expected, *members.front(), a.data() + t * n, nullptr, n, x.data() + t * m);
      }
      check_backends(fmt::format("{}, {} tokens", kind_text(kind), tokens), expected, [&](Backend& backend) {
        const Activations sum(backend, tokens, m, x);
        const Activations in(backend, tokens, n, a);
        backend.linear_add(sum.matrix(), backend.place(group_of(members, perm)), in.matrix());
        return sum.values();
      });
    }
  }
}

}  // namespace spqr
