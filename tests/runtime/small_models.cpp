#include "tests/runtime/small_models.h"

#include <algorithm>

#include "kernels/half.h"
#include "models/checkpoint.h"
#include "models/config.h"
#include "models/model.h"
#include "models/spqr_file.h"

namespace spqr {

void write_dense_model(const std::string& checkpoint, const std::string& tokenizer, DType dtype,
                       const std::filesystem::path& out, float (*change)(float)) {
  const std::filesystem::path fixtures = SPQR_FIXTURES;
  CheckpointOptions options;
  if (!tokenizer.empty()) options.tokenizer = fixtures / tokenizer;
  const auto source = open_checkpoint(fixtures / checkpoint, options);
  const ModelConfig config = parse_config(source->config_json(), checkpoint);
  SpqrFileWriter writer(out, "test", false);
  for (const CheckpointTensor& tensor : source->tensors()) {
    if (config.tie_word_embeddings && tensor.name == std::string(kHeadModule) + ".weight") continue;
    std::vector<float> values = source->read(tensor.name);
    if (change != nullptr && tensor.shape.size() == 2) std::ranges::transform(values, values.begin(), change);
    if (tensor.shape.size() == 1 || dtype == DType::f32) {
      writer.add_dense(tensor.name, {values.data(), DType::f32, tensor.shape});
      continue;
    }
    std::vector<std::uint16_t> halves(values.size());
    f32_to_f16(values.data(), halves.data(), values.size());
    writer.add_dense(tensor.name, {halves.data(), DType::f16, tensor.shape});
  }
  writer.finish({source->config_json(), source->tokenizer_files(), R"({"scheme": "f32"})"});
}

void write_stories_model(const std::filesystem::path& out) {
  write_dense_model("llama2c/stories260K.bin", "llama2c/tok512.bin", DType::f32, out);
}

}  // namespace spqr
