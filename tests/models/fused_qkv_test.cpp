#include "models/fused_qkv.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "tests/models/files.h"
#include "tests/models/tensor_list.h"

namespace spqr {
namespace {

using Json = nlohmann::json;

constexpr const char* kAttention = "transformer.h.0.self_attention.";

Json config(std::int64_t heads, const Json& more) {
  Json json = {{"model_type", "falcon"},
               {"hidden_size", 2 * heads},
               {"num_hidden_layers", 1},
               {"num_attention_heads", heads},
               {"vocab_size", 8}};
  json.update(more);
  return json;
}

std::unique_ptr<Checkpoint> split(const Json& config, std::int64_t rows, QkvOrder order) {
  const std::string fused = std::string(kAttention) + "query_key_value.";
  const std::int64_t hidden = config["hidden_size"];
  return with_split_qkv(
      std::make_unique<TensorList>(config.dump(),
                                   std::vector<CheckpointTensor>{{"transformer.ln_f.bias", {3}, "F16"},
                                                                 {fused + "weight", {rows, hidden}, "BF16"},
                                                                 {fused + "bias", {rows}, "F32"}}),
      order);
}

// The rows of the fused matrix that a projection consists of, in units of heads; heads have two rows.
std::vector<int> heads_of(const Checkpoint& checkpoint, const std::string& projection) {
  const std::vector<float> bias = checkpoint.read(kAttention + projection + ".bias");
  std::vector<int> heads;
  for (std::size_t i = 0; i < bias.size(); i += 2) {
    CHECK(bias[i] + 1 == bias[i + 1]);
    heads.push_back(static_cast<int>(bias[i]) / 2);
  }
  const CheckpointTensor* weight = checkpoint.find(kAttention + projection + ".weight");
  REQUIRE(weight != nullptr);
  CHECK(weight->stored_as == "BF16");
  REQUIRE(weight->shape.front() == static_cast<std::int64_t>(bias.size()));
  const std::vector<float> values = checkpoint.read(weight->name);
  const auto hidden = static_cast<std::size_t>(weight->shape.back());
  for (std::size_t i = 0; i < values.size(); ++i) {
    REQUIRE(values[i] == bias[i / hidden] * static_cast<float>(hidden) + static_cast<float>(i % hidden));
  }
  return heads;
}

void check_heads(const Json& config, QkvOrder order, const std::vector<int>& q, const std::vector<int>& k,
                 const std::vector<int>& v) {
  const auto rows = static_cast<std::int64_t>(2 * (q.size() + k.size() + v.size()));
  const auto checkpoint = split(config, rows, order);
  CHECK(heads_of(*checkpoint, "q_proj") == q);
  CHECK(heads_of(*checkpoint, "k_proj") == k);
  CHECK(heads_of(*checkpoint, "v_proj") == v);
  CHECK(checkpoint->tensors().size() == 7);
  CHECK(checkpoint->find(std::string(kAttention) + "query_key_value.weight") == nullptr);
  CHECK(checkpoint->read("transformer.ln_f.bias") == std::vector<float>{0, 1, 2});
}

}  // namespace

// Expected: the views of transformers' FalconAttention._split_heads.
TEST_CASE("query_key_value of Hugging Face: multi-query, one by one, grouped") {
  check_heads(config(5, Json::object()), QkvOrder::by_kv_head, {0, 1, 2, 3, 4}, {5}, {6});
  check_heads(config(3, {{"multi_query", false}}), QkvOrder::by_kv_head, {0, 3, 6}, {1, 4, 7}, {2, 5, 8});
  check_heads(config(6, {{"new_decoder_architecture", true}, {"num_kv_heads", 2}}), QkvOrder::by_kv_head,
              {0, 1, 2, 5, 6, 7}, {3, 8}, {4, 9});
}

TEST_CASE("query_key_value of GGUF: queries, keys, values") {
  check_heads(config(5, Json::object()), QkvOrder::by_kind, {0, 1, 2, 3, 4}, {5}, {6});
  check_heads(config(6, {{"new_decoder_architecture", true}, {"num_kv_heads", 2}}), QkvOrder::by_kind,
              {0, 1, 2, 3, 4, 5}, {6, 7}, {8, 9});
}

TEST_CASE("query_key_value of another shape is refused, and other architectures are left alone") {
  CHECK(
      contains(message_of([] { split(config(5, Json::object()), 12, QkvOrder::by_kv_head); }),
               "query_key_value.weight has 12 rows, expected 14 from the configuration: 5 query, 1 key and 1 "
               "value heads of 2"));
  const Json llama = {{"model_type", "llama"},  {"hidden_size", 4},         {"intermediate_size", 8},
                      {"num_hidden_layers", 1}, {"num_attention_heads", 2}, {"vocab_size", 3}};
  CHECK(split(llama, 12, QkvOrder::by_kv_head)->find(std::string(kAttention) + "query_key_value.weight"));
}

}  // namespace spqr
