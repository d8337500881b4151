#include "runtime/export_model.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "kernels/half.h"
#include "models/checkpoint.h"
#include "models/config.h"
#include "models/current_config.h"
#include "models/safetensors.h"
#include "models/spqr_file.h"
#include "runtime/import_model.h"
#include "tests/models/files.h"
#include "tests/runtime/quantize_jobs.h"
#include "tests/runtime/small_models.h"

namespace spqr {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr const char* kFalcons[] = {"falcon-7b", "falcon-40b", "falcon2-11b", "falcon-rw"};

fs::path fixture(const std::string& name) {
  return fs::path(SPQR_FIXTURES) / name;
}

// `model` quantized by `options` to directory/x.spqr, and that exported to directory/dense.
fs::path exported(const fs::path& model, const TemporaryDirectory& directory, const GivenOptions& options) {
  QuantizeJob job;
  job.model = model;
  job.out = directory.path() / "x.spqr";
  job.settings = resolve_quantize_options(options);
  quantize(job);
  export_hf_dense(job.out, directory.path() / "dense");
  return directory.path() / "dense";
}

Json config_in(const fs::path& directory) {
  return Json::parse(read_bytes(directory / "config.json"));
}

void check_same_tensors(const fs::path& found, const fs::path& expected) {
  const SafetensorsFile ours = SafetensorsFile::open(found);
  const SafetensorsFile theirs = SafetensorsFile::open(expected);
  CHECK(ours.tensors().size() == theirs.tensors().size());
  for (const SafetensorsTensor& tensor : theirs.tensors()) {
    CAPTURE(tensor.name);
    const SafetensorsTensor* same = ours.find(tensor.name);
    REQUIRE(same != nullptr);
    CHECK(same->dtype == tensor.dtype);
    CHECK(same->shape == tensor.shape);
    CHECK(std::ranges::equal(same->data, tensor.data));
  }
}

// What of a configuration decides how the model computes.
void check_same_model(const Json& found, const Json& expected) {
  const ModelConfig a = parse_config(found.dump(), "found");
  const ModelConfig b = parse_config(expected.dump(), "expected");
  CHECK(a.hidden_size == b.hidden_size);
  CHECK(a.intermediate_size == b.intermediate_size);
  CHECK(a.num_hidden_layers == b.num_hidden_layers);
  CHECK(a.num_attention_heads == b.num_attention_heads);
  CHECK(a.num_key_value_heads == b.num_key_value_heads);
  CHECK(a.num_ln_in_parallel_attn == b.num_ln_in_parallel_attn);
  CHECK(a.parallel_attn == b.parallel_attn);
  CHECK(a.alibi == b.alibi);
  CHECK(a.mlp_bias == b.mlp_bias);
  CHECK(a.tie_word_embeddings == b.tie_word_embeddings);
  CHECK(a.eos_token_ids == b.eos_token_ids);
}

}  // namespace

// The fixtures are what transformers saved and computed these logits from.
TEST_CASE("export: a Falcon's tensors are those of the checkpoint that it came from, byte by byte") {
  for (const char* name : kFalcons) {
    CAPTURE(name);
    const TemporaryDirectory directory;
    const fs::path golden = fixture("golden") / name;
    const fs::path dense = exported(golden, directory, {{"scheme", "f16"}});
    check_same_tensors(dense / "model.safetensors", golden / "model.safetensors");
    check_same_model(config_in(dense), config_in(golden));
  }
}

TEST_CASE("export: a packed Falcon and what was exported from it have the same logits") {
  const std::vector<std::int32_t> ids{1, 17, 300, 5, 42, 8, 99, 7};
  for (const char* name : kFalcons) {
    CAPTURE(name);
    const TemporaryDirectory directory;
    const fs::path dense =
        exported(fixture("golden") / name, directory, {{"scheme", "rtn"}, {"bits", "4"}, {"beta1", "16"}});
    const TemporaryDirectory again;
    exported(dense, again, {{"scheme", "f16"}});
    const auto expected = logits_of(SpqrFile::open(directory.path() / "x.spqr", {}), ids);
    const auto found = logits_of(SpqrFile::open(again.path() / "x.spqr", {}), ids);
    REQUIRE(found.size() == expected.size());
    double worst = 0;
    for (std::size_t i = 0; i < found.size(); ++i)
      worst = std::max(worst, std::abs(static_cast<double>(found[i]) - expected[i]));
    CHECK(worst < 0.02);  // weights rounded to 11 bits: 2^-11 of logits of size about 10, a few times over
  }
}

TEST_CASE("export: an imported SpQR checkpoint of a Falcon has the tensors of one that was never packed") {
  const TemporaryDirectory directory;
  ImportJob job{fixture("spqr_checkpoints/falcon-7b-w3g16q16-actorder"), directory.path() / "x.spqr", {}, {}};
  job.options.base = fixture("golden/falcon-7b");
  TestObserver observer;
  import_model(job, observer);
  export_hf_dense(job.out, directory.path() / "dense");
  const SafetensorsFile ours = SafetensorsFile::open(directory.path() / "dense" / "model.safetensors");
  const SafetensorsFile base = SafetensorsFile::open(fixture("golden/falcon-7b/model.safetensors"));
  CHECK(ours.tensors().size() == base.tensors().size());
  for (const SafetensorsTensor& tensor : base.tensors()) {
    CAPTURE(tensor.name);
    REQUIRE(ours.find(tensor.name) != nullptr);
    CHECK(ours.find(tensor.name)->shape == tensor.shape);
  }
}

TEST_CASE("export: Falcon configurations of 2023 come out as transformers has called it since") {
  const Json older[] = {{{"model_type", "RefinedWebModel"}, {"multi_query", true}},
                        {{"model_type", "RefinedWeb"}, {"n_head_kv", 2}}};
  const char* names[] = {"falcon-7b", "falcon-40b"};
  for (std::size_t i = 0; i < std::size(older); ++i) {
    CAPTURE(names[i]);
    const TemporaryDirectory model;
    const fs::path golden = fixture("golden") / names[i];
    Json config{{"architectures", {"RWForCausalLM"}},
                {"auto_map", {{"AutoModelForCausalLM", "modelling_RW.RWForCausalLM"}}},
                {"hidden_size", 128},
                {"n_head", 4},
                {"n_layer", 2},
                {"parallel_attn", true},
                {"bias", false},
                {"alibi", false},
                {"bos_token_id", 1},
                {"eos_token_id", 2},
                {"vocab_size", 384}};
    config.update(older[i]);
    std::ofstream(model.path() / "config.json") << config.dump();
    fs::copy(golden / "model.safetensors", model.path() / "model.safetensors");
    const TemporaryDirectory directory;
    const Json found = config_in(exported(model.path(), directory, {{"scheme", "f16"}}));
    CHECK(found["model_type"] == "falcon");
    CHECK(found["architectures"] == Json{"FalconForCausalLM"});
    CHECK(found["new_decoder_architecture"] == (i == 1));
    for (const char* gone : {"n_head", "n_layer", "n_head_kv", "auto_map"}) CHECK_FALSE(found.contains(gone));
    check_same_model(found, config_in(golden));
  }
}

// transformers 4 ignores rope_parameters, and raises where Falcon's configuration has a head_dim.
TEST_CASE("export: configurations have what transformers needs, wherever they come from") {
  const std::pair<const char*, const char*> models[] = {{"gguf/llama.gguf", "LlamaForCausalLM"},
                                                        {"gguf/qwen3.gguf", "Qwen3ForCausalLM"},
                                                        {"gguf/falcon-7b.gguf", "FalconForCausalLM"},
                                                        {"llama2c/stories260K.bin", "LlamaForCausalLM"}};
  for (const auto& [model, architecture] : models) {
    CAPTURE(model);
    const TemporaryDirectory directory;
    const Json config = config_in(exported(fixture(model), directory, {{"scheme", "f16"}}));
    CHECK(config["architectures"] == Json{architecture});
    if (config["model_type"] == "falcon") CHECK_FALSE(config.contains("head_dim"));
  }
  const Json modern = Json::parse(read_bytes(fixture("golden/llama-mha/config.json")));
  Json scaled = modern;
  scaled["rope_parameters"] = {{"rope_theta", 5e5}, {"rope_type", "linear"}, {"factor", 4.0}};
  for (const char* older : {"rope_theta", "rope_scaling"}) scaled.erase(older);
  const Json found = Json::parse(current_config_json(scaled.dump(), "config.json"));
  CHECK(found["rope_theta"] == 5e5);
  CHECK(found["rope_scaling"] == Json{{"rope_type", "linear"}, {"factor", 4.0}});
  CHECK_FALSE(found.contains("rope_parameters"));
}

TEST_CASE("export: a Hugging Face directory has the weights that the file stands for, in f16") {
  for (const char* name : {"qwen2", "llama-gqa-llama3rope-tied", "llama-ragged"}) {
    CAPTURE(name);
    const TemporaryDirectory directory;
    QuantizeJob job;
    job.model = std::filesystem::path(SPQR_FIXTURES) / "golden" / name;
    job.out = directory.path() / "x.spqr";
    job.settings = resolve_quantize_options({{"scheme", "rtn"}, {"bits", "5"}, {"beta1", "32"}});
    quantize(job);
    CHECK(export_hf_dense(job.out, directory.path() / "dense").size() == 1);  // no tokenizer
    const auto exported = open_checkpoint(directory.path() / "dense", {});
    const auto original = open_checkpoint(job.model, {});
    CHECK(exported->tensors().size() == original->tensors().size());
    const SpqrFile file = SpqrFile::open(job.out, {});
    for (const SpqrFileModule& module : file.modules()) {
      const auto* packed = std::get_if<SpqrMatrix>(&module.linear.weight);
      if (packed == nullptr) continue;
      std::vector<float> w(static_cast<std::size_t>(packed->m * packed->n));
      dequantize(*packed, file.perm(module.perm_name), w);
      for (float& value : w) value = round_to_f16(value);
      CHECK(exported->read(module.name + ".weight") == w);
    }
    // What is not packed is f16 in the fixtures, and so the same.
    for (const CheckpointTensor& tensor : original->tensors()) {
      REQUIRE(exported->find(tensor.name) != nullptr);
      CHECK(exported->find(tensor.name)->stored_as == "F16");
      if (file.find_module(tensor.name.substr(0, tensor.name.rfind('.'))) == nullptr ||
          tensor.shape.size() == 1)
        CHECK(exported->read(tensor.name) == original->read(tensor.name));
    }
    CHECK(nlohmann::json::parse(exported->config_json())["torch_dtype"] == "float16");
  }
}

TEST_CASE("export: what f16 cannot hold is refused, and nothing is left behind") {
  const TemporaryDirectory directory;
  const std::filesystem::path model = directory.path() / "x.spqr";
  write_stories_model(model);
  {
    const SpqrFile file = SpqrFile::open(model, {});
    SpqrFileWriter writer(directory.path() / "large.spqr", "test", false);
    for (const SpqrFileModule& module : file.modules())
      writer.add_dense(module.name + ".weight", std::get<TensorView>(module.linear.weight));
    const std::vector<float> large(64, 1e6F);
    writer.add_dense("model.norm.weight", {large.data(), DType::f32, {64}});
    writer.finish(file.info());
  }
  CHECK(contains(
      message_of([&] { export_hf_dense(directory.path() / "large.spqr", directory.path() / "dense"); }),
      "model.norm.weight holds 1000000, which f16 cannot"));
  CHECK_FALSE(std::filesystem::exists(directory.path() / "dense"));
  CHECK_FALSE(std::filesystem::exists(directory.path() / "dense.partial"));
}

}  // namespace spqr
