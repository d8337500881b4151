#include "runtime/inspect.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "kernels/quantize/quantize.h"
#include "tests/models/files.h"
#include "tests/runtime/small_models.h"

using namespace spqr;

namespace {

constexpr std::int64_t kSize = 64;

// 64 x 64: 5 bits by the formula (4, and f16 scale and zero for 32 weights), 5.5 with an outlier in every
// row.
PackedMatrix packed(bool outliers) {
  SpqrFormat format;
  format.bits = 4;
  format.beta1 = 32;
  format.scale_bits = format.zero_bits = SpqrFormat::kUnquantized;
  std::vector<float> w(static_cast<std::size_t>(kSize * kSize));
  for (std::size_t i = 0; i < w.size(); ++i) w[i] = static_cast<float>(i % 17) - 8;
  SpqrParts parts = quantize_rtn(w, kSize, kSize, format);
  if (outliers) {
    parts.row_offsets.push_back(0);
    for (std::uint32_t row = 0; row < kSize; ++row) {
      parts.row_offsets.push_back(row + 1);
      parts.columns.push_back(static_cast<std::uint16_t>(row));
      parts.values.push_back(1);
    }
  }
  return pack(parts);
}

// One block, all of whose matrices are 64 x 64; q, k and v have outliers and share a permutation. `without`
// is left out.
void write_block_model(const std::filesystem::path& path, const std::string& without = "",
                       DType embedding = DType::f32) {
  std::vector<std::uint32_t> perm;
  for (std::uint32_t j = kSize; j-- > 0;) perm.push_back(j);
  const std::vector<float> values(static_cast<std::size_t>(kSize * kSize), 1.0F);
  const std::string block = "model.layers.0.";
  SpqrFileWriter writer(path, "test", false);
  for (const char* name : {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"})
    if (block + name != without)
      writer.add_packed(block + name, packed(true), block + "self_attn.perm", perm);
  for (const char* name : {"self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"})
    if (block + name != without) writer.add_packed(block + name, packed(false), "", {});
  const std::vector<std::string> norms{block + "input_layernorm.weight",
                                       block + "post_attention_layernorm.weight", "model.norm.weight"};
  for (const std::string& name : norms)
    if (name != without) writer.add_dense(name, {values.data(), DType::f32, {kSize}});
  writer.add_dense("model.embed_tokens.weight", {values.data(), embedding, {kSize, kSize}});
  writer.finish({R"({"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 64,
      "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 4,
      "vocab_size": 64, "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "tie_word_embeddings": true})",
                 {},
                 R"({"scheme": "rtn"})"});
}

const PartSize& part(const std::vector<PartSize>& parts, const std::string& name) {
  for (const PartSize& each : parts)
    if (each.name == name) return each;
  throw std::runtime_error("no part " + name);
}

std::size_t bytes_of_all(const std::vector<PartSize>& parts) {
  std::size_t sum = 0;
  for (const PartSize& each : parts) sum += each.bytes;
  return sum;
}

}  // namespace

TEST_CASE("inspect: bits, outliers and bytes of packed matrices, by part") {
  const TemporaryDirectory folder;
  write_block_model(folder.path() / "x.spqr");
  const SpqrFile file = SpqrFile::open(folder.path() / "x.spqr", {});
  const Inspection all = inspect(file, 100);
  // codes and statistics 2560, row counts 128, outliers 256; one permutation of 128 bytes for the three
  CHECK(part(all.parts, "attention").bytes == 3 * (2560 + 128 + 256) + 128 + 2560);
  CHECK(part(all.parts, "attention").formula_bits_per_weight() == doctest::Approx((3 * 5.5 + 5) / 4));
  CHECK(part(all.parts, "attention").outlier_share() == doctest::Approx(0.75 / 64));
  CHECK(part(all.parts, "mlp").bytes == 3 * 2560);
  CHECK(part(all.parts, "mlp").stored_bits_per_weight() == doctest::Approx(5));
  CHECK(part(all.parts, "embedding").stored_bits_per_weight() == doctest::Approx(32));
  CHECK(part(all.parts, "norms").bytes == 3 * 256);
  CHECK(part(all.kinds, "k_proj").bytes == 2560 + 128 + 256 + 42);
  CHECK(part(all.kinds, "q_proj").bytes == 2560 + 128 + 256 + 43);
  CHECK(part(all.kinds, "v_proj").formula_bits_per_weight() == doctest::Approx(5.5));
  CHECK(all.blocks.matrices == 7);
  CHECK(all.blocks.formula_bits_per_weight() == doctest::Approx((3 * 5.5 + 4 * 5) / 7));
  CHECK(bytes_of_all(all.parts) == file.file_bytes());
  CHECK(all.whole.weights == 8 * kSize * kSize);
  CHECK(all.blocks.stored_as == "4 bits, groups of 32, f16 statistics");
  CHECK(all.tokenizer.kind == "none: the model takes and gives token ids");
  CHECK(all.memory.cache() == 100 * 2 * kSize * 2);  // keys and values, f16
  CHECK(inspect(file, 0).context == 128);
}

TEST_CASE("inspect: matrix by matrix, with shape, bits, outliers and permutation") {
  const TemporaryDirectory folder;
  write_block_model(folder.path() / "x.spqr");
  const SpqrFile file = SpqrFile::open(folder.path() / "x.spqr", {});
  const Inspection all = inspect(file, 0);
  REQUIRE(all.modules.size() == 8);
  const auto json = to_json(all, file, true);
  const auto of = [&](const std::string& name) {
    for (const auto& module : json["modules"])
      if (module["name"] == name) return module;
    throw std::runtime_error("no module " + name);
  };
  const auto query = of("model.layers.0.self_attn.q_proj");
  CHECK(query["shape"] == nlohmann::json{kSize, kSize});
  CHECK(query["bytes"] == 2560 + 128 + 256 + 43);  // of the permutation of 128 bytes a third
  CHECK(query["formula_bits_per_weight"] == doctest::Approx(5.5));
  CHECK(query["outliers"] == 64);
  CHECK(query["permutation"] == "model.layers.0.self_attn.perm");
  CHECK(of("model.layers.0.mlp.up_proj")["permutation"].is_null());
  CHECK(of("model.embed_tokens")["stored_as"] == "f32");
  CHECK(!to_json(all, file, false).contains("modules"));
  const std::string text = to_text(all, file, true);
  CHECK(contains(text, "4 bits, groups of 32, f16 statistics; model.layers.0.self_attn.perm\n"));
  CHECK(contains(text, "RoPE theta 10000\n"));
}

TEST_CASE("inspect: a part names each way its matrices are stored") {
  const TemporaryDirectory folder;
  write_block_model(folder.path() / "x.spqr", "", DType::f16);
  const Inspection all = inspect(SpqrFile::open(folder.path() / "x.spqr", {}), 0);
  // "f16" is a way of its own, though the other one has it in its name.
  CHECK(all.whole.stored_as == "4 bits, groups of 32, f16 statistics; f16");
}

TEST_CASE("inspect: a dense model with its tokenizer, as text and as JSON") {
  const TemporaryDirectory folder;
  write_stories_model(folder.path() / "stories.spqr");
  const SpqrFile file = SpqrFile::open(folder.path() / "stories.spqr", {});
  const Inspection all = inspect(file, 0);
  CHECK(part(all.parts, "attention").weights == 5 * (2 * 64 * 64 + 2 * 64 * 32));
  CHECK(part(all.parts, "mlp").weights == 5 * 3 * 64 * 172);
  CHECK(part(all.parts, "norms").bytes == 11 * 64 * sizeof(float));
  CHECK(bytes_of_all(all.parts) == file.file_bytes());
  CHECK(all.tokenizer.vocab_size == 512);
  const auto json = to_json(all, file, true);
  CHECK(json["file_bytes"] == file.file_bytes());
  CHECK(json["tensors"].size() == file.tensors().size());
  CHECK(json["blocks"]["stored_bits_per_weight"] == 32.0);
  CHECK(json["config"]["hidden_size"] == 64);
  CHECK(json["tokenizer"]["files"].size() == 1);
  const std::string text = to_text(all, file, true);
  CHECK(contains(text, "llama2.c vocabulary, 512 tokens"));
  CHECK(contains(text, "model.layers.4.mlp.up_proj.weight"));
  CHECK(!contains(to_text(all, file, false), "model.layers.4.mlp.up_proj.weight"));
}

TEST_CASE("inspect: what the configuration asks for and the file has not is named") {
  const TemporaryDirectory folder;
  for (const char* name : {"model.layers.0.self_attn.k_proj", "model.layers.0.mlp.down_proj",
                           "model.norm.weight", "model.layers.0.input_layernorm.weight"}) {
    write_block_model(folder.path() / "x.spqr", name);
    const SpqrFile file = SpqrFile::open(folder.path() / "x.spqr", {});
    CHECK(contains(message_of([&] { inspect(file, 0); }), std::string("'") + name + "'"));
  }
}
