#include "models/stored_types.h"

#include <doctest/doctest.h>

#include <cstring>
#include <string>
#include <vector>

#include "models/safetensors.h"
#include "tests/models/files.h"

namespace spqr {

// The fixture has random blocks and what gguf-py makes of them. A type that this table misspells, or gives
// another size, is found as well: the sizes come from there.
TEST_CASE("quantized blocks become the values that gguf-py gives them") {
  const auto file =
      SafetensorsFile::open(std::filesystem::path(SPQR_FIXTURES) / "gguf" / "blocks.safetensors");
  int types = 0;
  for (const char* name : {"Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"}) {
    CAPTURE(name);
    const SafetensorsTensor* blocks = file.find(name);
    const SafetensorsTensor* values = file.find(std::string(name) + ".values");
    REQUIRE(blocks != nullptr);
    REQUIRE(values != nullptr);
    const StoredType* type = find_stored_type(name);
    REQUIRE(type != nullptr);
    CHECK(type->block_bytes == blocks->shape[1]);
    CHECK(type->block_elements * blocks->shape[0] == values->shape[0]);
    CHECK(stored_bytes(*type, values->shape[0]) == static_cast<std::int64_t>(blocks->data.size()));
    std::vector<float> expected(values->data.size() / sizeof(float));
    std::memcpy(expected.data(), values->data.data(), values->data.size());
    std::vector<float> found(expected.size());
    widen(*type, blocks->data, found.data());
    CHECK(found == expected);
    ++types;
  }
  CHECK(file.tensors().size() == static_cast<std::size_t>(2 * types));
}

TEST_CASE("sizes that are no whole blocks, or do not fit, are -1") {
  const StoredType* type = find_stored_type("Q4_K");
  REQUIRE(type != nullptr);
  CHECK(stored_bytes(*type, 255) == -1);
  CHECK(stored_bytes(*type, -256) == -1);
  CHECK(stored_bytes(*type, 0) == 0);
  CHECK(stored_bytes(*find_stored_type("F32"), std::int64_t{1} << 62) == -1);
  CHECK(find_stored_type("Q8_K") == nullptr);
}

}  // namespace spqr
