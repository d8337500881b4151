#include "models/alibi.h"

#include <doctest/doctest.h>

#include <cmath>

namespace spqr {

// Expected: transformers 5's build_alibi_tensor, divided by sqrt(head_dim).
TEST_CASE("alibi: a power of two of heads has slopes down to 2^-8") {
  const std::vector<float> table = falcon_alibi(4, 16, 8);
  REQUIRE(table.size() == 32);
  for (int h = 0; h < 4; ++h) {
    for (int p = 0; p < 8; ++p) {
      CHECK(table[static_cast<std::size_t>(8 * h + p)] ==
            std::exp2(-2.0F * static_cast<float>(h + 1)) * static_cast<float>(p) / 4);
    }
  }
}

TEST_CASE("alibi: other numbers of heads take every other slope of the next power of two") {
  const std::vector<float> table = falcon_alibi(6, 1, 2);
  const float expected[] = {0.25F, 0.0625F, 0.015625F, 0.00390625F, 0.5F, 0.125F};
  for (std::size_t h = 0; h < 6; ++h) CHECK(table[2 * h + 1] == expected[h]);
}

TEST_CASE("alibi: slopes, positions and products are rounded to bf16") {
  // 2^-0.5 has the 8 bits 0.70703125; three times that is 2.12109375, half way between two numbers of 8 bits,
  // of which 2.125 is the even one; 257 becomes 256.
  const std::vector<float> table = falcon_alibi(16, 1, 258);
  CHECK(table[1] == 0.70703125F);
  CHECK(table[3] == 2.125F);
  CHECK(table[67] == 47.25F);  // 47.5 if the slope had more than 8 bits
  CHECK(table[257] == 181.0F);
  CHECK(table[257] == table[256]);
}

}  // namespace spqr
