#include "runtime/export_model.h"

#include <doctest/doctest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "kernels/half.h"
#include "models/checkpoint.h"
#include "models/spqr_file.h"
#include "tests/models/files.h"
#include "tests/runtime/quantize_jobs.h"
#include "tests/runtime/small_models.h"

namespace spqr {

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
